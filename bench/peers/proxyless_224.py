"""ProxylessNAS's space as in its paper: 21 blocks, for 224x224."""

import proxyless


def build():
    return proxyless.build(((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)), 2)
