"""How a product is cut into jobs: bands of output rows and sets of columns."""

from __future__ import annotations

from accelsim_kernels.arguments import ConvGeometry
from accelsim_kernels.mac_pack import Layout

#: bytes of input that a band copies, and outputs that it makes: it should stay in the second-level cache
STRIP_BYTES = 1 << 17
BAND_OUTPUTS = 1 << 10
#: bytes that are never worth saving; beyond them a band's copy is at most an eighth of the unfolded input in int32
LEAST_BYTES = 1 << 15
#: products that are worth handing to another thread; what copying a byte and starting a job cost, in products
JOB_PRODUCTS, COPY_PRODUCTS, JOB_OVERHEAD = 1 << 19, 8, 1 << 17
#: products of a job above which others would wait long for a thread that loses its core
LARGE_JOB = 1 << 24


def cut(shape: ConvGeometry, layout: Layout, pitch: int, workers: int) -> tuple[int, int, int, int]:
    """(bands, output rows of a band, panel sets, panels of a set): what fits the cache, then even work for everyone."""
    by_size = max(1, BAND_OUTPUTS // shape.out_x)
    if pitch:
        unfolded = shape.batch * shape.out_y * shape.out_x * shape.depth * shape.groups
        strip = min(STRIP_BYTES, max(LEAST_BYTES, unfolded // (2 * workers)))
        by_size = min(by_size, max(1, (strip // pitch - (shape.fy - 1) * shape.dilation[0]) // shape.stride[0]))
    bands = -(-shape.out_y // min(by_size, shape.out_y))
    band_rows, per_set, panels = -(-shape.out_y // bands), max(1, len(layout.panels)), len(layout.panels)
    products = shape.batch * shape.out_y * shape.out_x * shape.out_channels * shape.depth
    if workers > 1 and products >= 2 * JOB_PRODUCTS:
        best, most_rows = 0, band_rows
        # rows rather than columns, where both are as good: cores then write apart from one another
        for each in sorted({-(-panels // count) for count in range(1, panels + 1)}, reverse=True):
            widest = sum(sorted((vectors for _, vectors in layout.panels), reverse=True)[:each])
            for rows in band_sizes(band_rows, shape.out_y):
                jobs = shape.batch * shape.groups * -(-shape.out_y // rows) * -(-panels // each)
                copied = pitch * ((rows - 1) * shape.stride[0] + (shape.fy - 1) * shape.dilation[0] + 1)
                job = rows * shape.out_x * widest * layout.steps * 64 + COPY_PRODUCTS * copied + JOB_OVERHEAD
                cost = -(-jobs // workers) * job + max(0, job - LARGE_JOB) // 4
                if not best or cost < best:
                    best, most_rows, per_set = cost, rows, each
        band_rows = most_rows
    return -(-shape.out_y // band_rows), band_rows, -(-panels // per_set), per_set


def band_sizes(most: int, whole: int) -> list[int]:
    """Rows of a band that are worth a thought, largest first: fewer rows would make as many bands."""
    return [rows for rows in range(most, 0, -1) if rows == most or -(-whole // -(-whole // rows)) == rows]


def cut_rows(shape: ConvGeometry, workers: int) -> tuple[int, int]:
    """(bands, output rows of each): one band per image unless several threads have enough to do."""
    products = shape.batch * shape.out_y * shape.out_x * shape.out_channels * shape.depth
    band_rows = shape.out_y
    if workers > 1 and products >= JOB_PRODUCTS // 4:
        row = products // (shape.batch * shape.out_y)
        sizes = [rows for rows in band_sizes(shape.out_y, shape.out_y) if rows == 1 or rows * row >= JOB_PRODUCTS // 16]
        band_rows = min(sizes, key=lambda rows: -(-shape.batch * -(-shape.out_y // rows) // workers) * rows)
    return -(-shape.out_y // band_rows), band_rows
