"""What the pictures of this folder are drawn with: SVG as text, without a library."""

INK, GREY, BLUE, LIGHT, ORANGE = "#1f2933", "#7b8794", "#2563eb", "#bfd3f5", "#d97706"


def text(x, y, s, size=13, anchor="start", colour=INK, weight="normal"):
    s = str(s).replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{s}</text>'
    )


def line(points, colour, width=2.5):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"/>'


def picture(width, height, body):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
    )
    return head + "\n".join(body) + "</svg>\n"
