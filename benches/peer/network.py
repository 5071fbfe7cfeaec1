"""Runs a network that `ghnas export --format json --lowered` wrote, in PyTorch.

The network is a list of steps over values: value 0 is the image batch, value k + 1 the result of
step k. Parameters are separate tensors in the document's order.
"""

import torch
import torch.nn.functional as F

EPSILON = 1e-5  # Of every batch norm, as in ghnas-core.


class Network:
    def __init__(self, document):
        self.input = document["input"]
        self.classes = document["classes"]
        self.params = document["params"]
        self.steps = document["steps"]
        self.outputs = document["outputs"]
        # A value is dropped after its last use, as Python code written by hand would do.
        self.last_use = {}
        for index, step in enumerate(self.steps):
            for value in step["inputs"]:
                self.last_use[value] = index
        for output in self.outputs:
            self.last_use[output["value"]] = len(self.steps)

    def random_weights(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        weights = []
        for param in self.params:
            scale = (2.0 / param["fan_in"]) ** 0.5
            weight = torch.randn(param["shape"], generator=generator) * scale
            if param["role"] == "scale":
                weight = 1.0 + 0.1 * weight
            weights.append(weight)
        return weights

    def forward(self, weights, images):
        """Logits of every output, [n, classes] each."""
        values = {0: images}
        for index, step in enumerate(self.steps):
            inputs = [values[value] for value in step["inputs"]]
            values[index + 1] = run(step, inputs, weights)
            for value in step["inputs"]:
                if self.last_use.get(value) == index:
                    values.pop(value, None)
        return [values[output["value"]].flatten(1) for output in self.outputs]

    def loss(self, weights, images, labels):
        logits = self.forward(weights, images)
        losses = [
            output["loss_weight"] * F.cross_entropy(rows, labels)
            for output, rows in zip(self.outputs, logits)
        ]
        return sum(losses), logits


def run(step, inputs, weights):
    """One step; the semantics of each primitive are PyTorch's."""
    x = inputs[0]
    match step["primitive"]:
        case "conv2d":
            return F.conv2d(
                x,
                weights[step["weight"]],
                stride=step["stride"],
                padding=step["padding"],
                dilation=step["dilation"],
                groups=step["groups"],
            )
        case "batch_norm":
            scale, shift = step["scale"], step["shift"]
            return F.batch_norm(
                x,
                None,
                None,
                None if scale is None else weights[scale],
                None if shift is None else weights[shift],
                training=True,
                eps=EPSILON,
            )
        case "relu":
            return F.relu(x)
        case "max_pool":
            return F.max_pool2d(x, step["size"], step["stride"], step["padding"])
        case "average_pool":
            window = step["window"]
            return F.avg_pool2d(
                x,
                window["size"],
                window["stride"],
                window["padding"],
                count_include_pad=step["count_padding"],
            )
        case "global_average_pool":
            return x.mean((2, 3), keepdim=True)
        case "linear":
            bias = step["bias"]
            y = F.linear(x.flatten(1), weights[step["weight"]], None if bias is None else weights[bias])
            return y[:, :, None, None]
        case "add":
            total = inputs[0]
            for other in inputs[1:]:
                total = total + other
            return total
        case "concat":
            return torch.cat(inputs, 1)
        case "upsample":
            return F.interpolate(x, scale_factor=step["factor"], mode="nearest")
        case "zero":
            stride = step["stride"]
            return torch.zeros_like(x[:, :, ::stride, ::stride])
    raise ValueError(f"unknown primitive {step['primitive']}")
