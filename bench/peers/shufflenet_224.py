"""SPOS's space as in its paper, for 224x224."""

import shufflenet


def build():
    return shufflenet.build((2, 2, 2, 2, 2))
