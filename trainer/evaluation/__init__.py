"""How good is a network at reenactment? Measured on people that training never saw, the same way for every
generator of the contract, beside what costs nothing: copying the source, and the mean face.

    pairs = crossing_pairs(seed=0, identities=16, motions=1, frames=4, size=96)   # once: people are rendered
    found = evaluate(network, pairs)                                              # often: seconds
    print(found.reading("l1_face").drawn.mean)

K frames of a clip, of which the first is the source and F = K − 1 are drawn; C clips; S the side of a
network's pictures, pixels; N = 478 landmarks. Pictures are RGB in [0, 1].
"""
