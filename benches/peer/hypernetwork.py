"""The Graph HyperNetwork in straightforward PyTorch, for networks that ghnas lowered.

Node by node as in the paper: forward-backward propagation (section 4.4, Eq. 15) with a message
network of two layers and a GRU (Eq. 3 and 4), a chain of modules that pass on their mean embedding
(Eq. 12 to 14), and a hypernetwork with one output branch a parameter kind, from which parameters
are sliced around the centre, or tiled (section 7.2). Every choice is that of ghnas's own.
"""

import torch
from torch import nn


class GraphHyperNetwork(nn.Module):
    def __init__(self, document, hidden=32, message_hidden=32, hypernetwork_hidden=64, rounds=5):
        super().__init__()
        self.hidden, self.rounds = hidden, rounds
        ops = sorted({node["op"] for module in document["modules"] for node in module["nodes"]})
        self.op_index = {op: index for index, op in enumerate(ops)}
        self.embedding = nn.Embedding(len(ops), hidden)
        self.message = nn.Sequential(
            nn.Linear(hidden, message_hidden), nn.ReLU(), nn.Linear(message_hidden, hidden)
        )
        self.gru = nn.GRUCell(hidden, hidden)
        self.hypernetwork = nn.Sequential(nn.Linear(hidden, hypernetwork_hidden), nn.ReLU())
        largest = {param["kind"]: param["largest"] for param in document["params"]}
        self.kinds = sorted(largest)
        self.branches = nn.ModuleList(
            nn.Linear(hypernetwork_hidden, torch.Size(largest[kind]).numel()) for kind in self.kinds
        )

    def forward(self, document):
        """The weights of the network, in the document's order."""
        rows, previous = [], torch.zeros(1, self.hidden)
        first = {}
        for index, module in enumerate(document["modules"]):
            first[index] = len(rows)
            if module["nodes"]:
                h = self.propagate(module["nodes"], previous)
                previous = torch.cat(h).mean(0, keepdim=True)
                rows += h
        features = self.hypernetwork(torch.cat(rows))
        weights = [None] * len(document["params"])
        for kind, branch in zip(self.kinds, self.branches):
            cuts = [i for i, param in enumerate(document["params"]) if param["kind"] == kind]
            params = [document["params"][i] for i in cuts]
            nodes = [first[p["node"]["module"]] + p["node"]["node"] for p in params]
            outputs = branch(features[nodes])
            for cut, param, output in zip(cuts, params, outputs):
                weight = slice_or_tile(output.view(param["largest"]), param["shape"])
                if param["role"] in ("kernel", "matrix"):
                    weight = weight * (2.0 / param["fan_in"]) ** 0.5
                weights[cut] = 1.0 + weight if param["role"] == "scale" else weight
        return weights

    def propagate(self, nodes, previous):
        """Embeddings of a module's nodes; entry nodes hear the previous module as well."""
        consumers = [[] for _ in nodes]
        for index, node in enumerate(nodes):
            for source in node["inputs"]:
                consumers[source].append(index)
        h = [self.embedding.weight[self.op_index[node["op"]]][None] for node in nodes]
        order = topological_order(nodes)
        for _ in range(self.rounds):
            for index in order:
                self.update(h, index, nodes[index]["inputs"], nodes[index]["entry"], previous)
            for index in reversed(order[:-1]):
                self.update(h, index, consumers[index], nodes[index]["entry"], previous)
        return h

    def update(self, h, index, heard, entry, previous):
        message = torch.zeros(1, self.hidden)
        if heard:
            message = self.message(torch.cat([h[source] for source in heard])).sum(0, keepdim=True)
        if entry:
            message = message + previous
        h[index] = self.gru(message, h[index])


def topological_order(nodes):
    order, placed = [], set()
    while len(order) < len(nodes):
        for index, node in enumerate(nodes):
            if index not in placed and all(source in placed for source in node["inputs"]):
                order.append(index)
                placed.add(index)
    return order


def slice_or_tile(kernel, shape):
    """The centre of a kernel; channels beyond it are copies laid side by side."""
    for axis, size in enumerate(shape):
        whole = kernel.shape[axis]
        if size > whole:
            repeats = [1] * kernel.dim()
            repeats[axis] = -(-size // whole)
            kernel = kernel.repeat(repeats).narrow(axis, 0, size)
        elif size < whole:
            kernel = kernel.narrow(axis, whole // 2 - size // 2, size)
    return kernel.contiguous()


class TrainingStep:
    """Generate, loss and gradients, clip, Adam: one step of the paper's training."""

    def __init__(self, document, network, batch, layout):
        from ghnas import in_layout

        self.document, self.network, self.layout = document, network, layout
        self.ghn = GraphHyperNetwork(document)
        self.adam = torch.optim.Adam(self.ghn.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        images = torch.randn([batch, *document["input"]], generator=generator)
        self.images = in_layout(torch, images, layout)
        self.labels = torch.randint(document["classes"], (batch,), generator=generator)

    def run(self):
        """One step; returns the loss."""
        self.adam.zero_grad()
        loss, _ = self.network.loss(self.ghn(self.document), self.images, self.labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.ghn.parameters(), 5.0)
        self.adam.step()
        return loss
