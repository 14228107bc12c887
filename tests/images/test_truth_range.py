import numpy as np

from cyclegan.images import full_range


def test_truth_values_go_to_a_network_and_back() -> None:
    truth = np.array([[True, False, True]])
    range_ = full_range(truth.dtype)
    assert range_.to_unit(truth).tolist() == [[1.0, -1.0, 1.0]]
    back = range_.from_unit(np.array([[0.9, -0.2, 0.1]], np.float32), truth.dtype)
    assert back.dtype == np.bool_
    assert back.tolist() == [[True, False, True]]
