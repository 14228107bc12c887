"""Memory that is used again."""

import threading

import torch

from cyclegan.networks import build_generator, place_networks
from cyclegan.networks.kernels.scratch import scratch


def in_a_thread(work) -> list:
    """What `work` returns in a thread that has no scratch yet."""
    made: list = []
    thread = threading.Thread(target=lambda: made.append(work()))
    thread.start()
    thread.join()
    return made


def test_it_is_the_same_memory_as_long_as_it_is_large_enough() -> None:
    def work() -> list[int]:
        return [scratch("a", *shape).data_ptr() for shape in ((4, 5), (2, 10), (3,), (20, 2), (40,))]

    (places,) = in_a_thread(work)
    assert places[0] == places[1] == places[2]
    assert places[3] == places[4]
    assert scratch("a", 3).data_ptr() not in places, "another thread's"
    assert scratch("b", 3).data_ptr() != scratch("a", 3).data_ptr()


def test_a_network_that_has_translated_can_be_trained() -> None:
    def work() -> bool:
        network = place_networks(build_generator("resnet_6blocks", channels=4), torch.device("cpu"), exact=False)
        x = torch.rand(1, 3, 32, 32)
        with torch.inference_mode():
            network(x)
        network(x).sum().backward()
        return network.head.weight.grad is not None

    assert in_a_thread(work) == [True]
