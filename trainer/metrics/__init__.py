"""By what reenactment is judged: pure functions, each with its convention in its name.

Pictures are B×3×H×W RGB in [0, 1], points B×N×2 in crop units, codes B×D. There is one value per row, so that
callers can take the mean and the worst; only distances between distributions are one value, with its n
beside. Everything is computed in float64. `summary` puts rows together.

Where weights that we don't have are needed, `availability` says "not available: give PATH" and what PATH must
hold; nothing takes their place.
"""
