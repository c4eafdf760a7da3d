def transform(picture):
    """A PIL picture as the network takes it: [C, H, W], normalised."""
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    if picture.mode.startswith("I"):
        # 16 bits: PIL would cut off what is above 255.
        picture = picture.convert("I").point(lambda value: value * (1 / 257) + 128 / 257).convert("L")
    picture = picture.convert("RGB")
    # The largest part of the network's proportions in the middle.
    width, height = picture.size
    cut_width = min(width, max(1, (2 * height * WIDTH + HEIGHT) // (2 * HEIGHT)))
    cut_height = min(height, max(1, (2 * width * HEIGHT + WIDTH) // (2 * WIDTH)))
    left, top = (width - cut_width) // 2, (height - cut_height) // 2
    picture = picture.crop((left, top, left + cut_width, top + cut_height))
    if picture.size != (WIDTH, HEIGHT):
        picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    if CHANNELS == 1:
        # Luma of Rec. 709; PIL's own is of Rec. 601.
        picture = picture.convert("L", (0.2126, 0.7152, 0.0722, 0))
    pixels = torch.tensor(list(picture.tobytes()), dtype=torch.float32)
    return normalise(pixels.view(HEIGHT, WIDTH, CHANNELS).permute(2, 0, 1) / 255)


def normalise(pixels):
    """Pixels in 0 to 1, [..., C, H, W], as the network takes them."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


def load(weights=Path(__file__).with_suffix(".safetensors")):
    """The trained network."""
    network = Network()
    missing, surplus = network.load_state_dict(load_file(weights), strict=False)
    # Only training counts batches.
    wrong = [name for name in missing + surplus if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ValueError(f"{weights} is of another network: {wrong}")
    return network.eval()


def main(paths):
    if not paths:
        sys.exit(f"usage: python {Path(__file__).name} IMAGE...")
    network, failed = load(), False
    for path in paths:
        try:
            image = transform(Image.open(path))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
            continue
        with torch.no_grad():
            probabilities = network(image[None])[0].softmax(0)
        best = probabilities.topk(min(5, len(CLASSES)))
        found = (f"{CLASSES[k]} {100 * p:.2f} %" for p, k in zip(best.values.tolist(), best.indices.tolist()))
        print(f"{path}: {', '.join(found)}")
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1:])
