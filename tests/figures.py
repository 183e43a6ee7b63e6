"""What the tests of pictures look at."""

from matplotlib.image import imread


def texts(figure):
    """All titles, labels and annotations."""
    found = [figure.get_suptitle()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
        found += [t.get_text() for t in axes.texts]
        found += [t.get_text() for t in (axes.get_legend().texts if axes.get_legend() else [])]
    return found


def nothing_clipped(path):
    """Whether a margin runs all around the picture, so that no label is cut off."""
    picture = imread(path)[..., :3]
    edges = [picture[:4], picture[-4:], picture[:, :4], picture[:, -4:]]
    return all((edge == 1).all() for edge in edges)
