"""PyTorch's side of `side_by_side.py`: the commands of `crates/nas/examples/bench_worker.rs`, answered the same way.

    python pytorch_worker.py FILE THREADS nchw|channels-last|compiled computed|skipped

compiled: channels_last with `torch.compile` of each cell. The last argument says whether the operation `none` multiplies
its input by zero, as the usual research code does, or is left out.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

import tensor_file
from pytorch_network import Network


class Worker:
    def __init__(self, path, mode, compute_none):
        header, tensors = tensor_file.read(path)
        layout = torch.contiguous_format if mode == "nchw" else torch.channels_last
        self.images = tensors.pop("images").permute(0, 3, 1, 2).contiguous(memory_format=layout)
        self.labels = tensors.pop("labels").long()
        self.mixing = tensors.pop("mixing").clone().requires_grad_()
        self.network = Network(header["graph"], compute_none)
        self.network.load_state_dict(tensors, strict=False)
        self.network.to(memory_format=layout)
        if mode == "compiled":
            self.network.compile_cells()
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), lr=0.025, momentum=0.9, nesterov=True, weight_decay=5e-4
        )

    def forward_backward(self):
        self.optimiser.zero_grad()
        self.mixing.grad = None
        logits = self.network(self.images, self.mixing)
        loss = F.cross_entropy(logits, self.labels)
        loss.backward()
        return loss, logits

    def step(self):
        loss, _ = self.forward_backward()
        self.optimiser.step()
        return loss

    def evaluate(self):
        with torch.no_grad():
            return F.cross_entropy(self.network(self.images, self.mixing), self.labels)

    def check(self, path):
        loss, logits = self.forward_backward()
        tensor_file.write(path, {name: p.grad for name, p in self.network.named_parameters()})
        correct = (logits.argmax(1) == self.labels).sum().item()
        return {"loss": loss.item(), "correct": correct, "mixing_grad": self.mixing.grad.reshape(-1).tolist()}


def timed(work, times):
    ms, loss = [], float("nan")
    for _ in range(times):
        start = time.perf_counter()
        loss = work().item()
        ms.append((time.perf_counter() - start) * 1e3)
    return {"ms": ms, "loss": loss}


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        return {"reset": False}
    return {"reset": True}


def peak():
    try:
        with open("/proc/self/status") as f:
            kb = next(line.split()[1] for line in f if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return {"mb": None}
    return {"mb": float(kb) / 1024}


def main():
    path, threads, mode, none = sys.argv[1:]
    torch.set_num_threads(int(threads))
    worker = Worker(path, mode, none == "computed")
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "check":
            answer = worker.check(argument)
        elif command == "step":
            answer = timed(worker.step, int(argument))
        elif command == "eval":
            answer = timed(worker.evaluate, int(argument))
        elif command == "reset_peak":
            answer = reset_peak()
        elif command == "peak":
            answer = peak()
        else:
            raise ValueError(f"no command {command!r}")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
