"""The stand-in for a GPU finds what would make the host wait for one."""

from __future__ import annotations

import pytest
import torch

from tests.rehearsal import META, Rehearsal

HOST = torch.arange(3)


@pytest.mark.parametrize(
    "waits",
    [
        lambda device: device.sum().item(),
        lambda device: bool((device > 0).any()),
        lambda device: float(device[0]),
        lambda device: device.numpy(),
        lambda device: device.nonzero(),
        lambda device: device[device > 0],
        lambda device: torch.unique(device),
        lambda device: torch.equal(device, device),
        lambda device: device + HOST,
        lambda device: device[HOST],
        lambda device: HOST[device.long()],
        lambda device: device[[0, 1]],
        lambda _: HOST.to(META),
        lambda device: device.copy_(HOST),
        lambda device: torch.zeros(3).copy_(device),
        lambda _: torch.tensor([1, 2], device=META),
        lambda _: torch.as_tensor(1.5, device=META),
    ],
)
def test_what_makes_the_host_wait_fails(waits):
    device = torch.zeros(3, device=META)
    with (
        pytest.raises((AssertionError, NotImplementedError, RuntimeError, TypeError)),
        Rehearsal(),
    ):
        waits(device)


def test_copies_are_found_in_inference_mode_too():
    device = torch.zeros(3, device=META)
    with torch.inference_mode(), Rehearsal() as rehearsal:
        assert device.cpu().tolist() == [0, 0, 0]
        with pytest.raises(AssertionError, match="a copy to the device waits"):
            HOST.to(META)
    assert rehearsal.brought_back == [(3,)]


def test_what_comes_back_is_noted():
    device = torch.zeros(3, 2, device=META)
    with Rehearsal() as rehearsal:
        device[0].tolist()
        assert device.cpu().tolist() == [[0, 0]] * 3
    assert rehearsal.brought_back == [(2,), (3, 2)]


def test_work_of_the_device_alone_goes_through():
    device = torch.zeros(3, 2, device=META, requires_grad=True)
    with Rehearsal() as rehearsal:
        given = HOST.to(META, non_blocking=True)
        value = torch.where(device == 0, 0.0, 1 / device)[given].sum() * 2
        (gradient,) = torch.autograd.grad(value, device)
    assert gradient.shape == (3, 2)
    assert (rehearsal.handed_over, rehearsal.brought_back) == (1, [])
