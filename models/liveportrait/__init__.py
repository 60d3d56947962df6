"""LivePortrait (Guo et al., arXiv:2407.03168): its five networks, which take the authors' public weights by
their keys.

F makes a feature volume of the portrait, M finds key points, head pose and expression in a picture, W takes
the volume from the source's key points to the driver's, G draws it, and S corrects key points: so that the
head stays on its shoulders (stitching), and so that eyes and lips open as far as they are asked to
(retargeting).
"""
