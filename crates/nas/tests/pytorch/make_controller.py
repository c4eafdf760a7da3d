"""Writes controller.json: log-probability, entropy and gradient of a small controller of ENAS, computed by PyTorch in f64 for the
tests in crates/nas/src/search/parts/controller.rs.

    python make_controller.py            (needs torch; a CPU build is enough)
"""

import json
from pathlib import Path

import torch

torch.set_default_dtype(torch.float64)
SIZE, LAYERS, OPS, TOKENS = 4, 2, 5, [3, 0, 4, 1, 3, 2]

lstm = torch.nn.LSTM(SIZE, SIZE, LAYERS)
first = torch.nn.Parameter(torch.zeros(SIZE))
embedding = torch.nn.Parameter(torch.zeros(OPS, SIZE))
decision = torch.nn.Linear(SIZE, OPS)

inner = [p for layer in range(LAYERS) for p in (getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))]
parameters = [first, *inner, embedding, decision.weight, decision.bias]
begin = 0
with torch.no_grad():
    for parameter in parameters:
        places = torch.arange(begin, begin + parameter.numel(), dtype=torch.float64)
        parameter.copy_((0.3 * torch.sin(places)).reshape(parameter.shape))
        begin += parameter.numel()

inputs, state = first.reshape(1, 1, SIZE), None
log_probability, entropy = 0.0, 0.0
for token in TOKENS:
    outputs, state = lstm(inputs, state)
    logits = 2.5 * torch.tanh(decision(outputs.reshape(SIZE)) / 5.0)
    of_decision = torch.distributions.Categorical(logits=logits)
    log_probability = log_probability + of_decision.log_prob(torch.tensor(token))
    entropy = entropy + of_decision.entropy()
    inputs = embedding[token].reshape(1, 1, SIZE)
(-0.7 * log_probability).backward()

gradient = [float(g) for parameter in parameters for g in parameter.grad.flatten()]
fixture = {"tokens": TOKENS, "log_probability": log_probability.item(), "entropy": entropy.item(), "gradient": gradient}
Path(__file__).with_name("controller.json").write_text(json.dumps(fixture) + "\n")
