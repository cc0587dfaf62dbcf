"""Zero-loss minimizers, written down instead of searched for.

`pull_back` and `positive_sector` read the network backwards, from the labels to affinely
independent inputs. `memorizing` needs only distinct inputs, and a wide last hidden layer.
`truncating` and `class_index` fit the labels of classes with networks of their own, which may
have fewer parameters than there are equations. `zl.guarantees` says which of them apply.
"""

from zl.minimizers.backwards import positive_sector, pull_back
from zl.minimizers.ramps import class_index, memorizing
from zl.minimizers.regression import first_layer
from zl.minimizers.truncation import truncating

__all__ = [
    "class_index",
    "first_layer",
    "memorizing",
    "positive_sector",
    "pull_back",
    "truncating",
]
