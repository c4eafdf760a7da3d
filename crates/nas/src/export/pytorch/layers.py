class Named(nn.Module):
    """Modules under names."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class ConvBN(nn.Conv2d):
    """ReLU, convolution, batch normalisation."""

    def __init__(self, c_in, c_out, kernel, stride=1):
        super().__init__(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return self.bn(super().forward(F.relu(x)))


class DilConv(nn.Module):
    """ReLU, depthwise convolution, 1x1 convolution, batch normalisation."""

    def __init__(self, c, kernel, stride=1, dilation=2):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False)
        self.pointwise = nn.Conv2d(c, c, 1, bias=False)
        self.bn = nn.BatchNorm2d(c)

    def forward(self, x):
        return self.bn(self.pointwise(self.depthwise(F.relu(x))))


class SepConv(nn.Module):
    """Twice: ReLU, depthwise convolution, 1x1 convolution, batch normalisation."""

    def __init__(self, c, kernel, stride=1):
        super().__init__()
        self.first = DilConv(c, kernel, stride, dilation=1)
        self.second = DilConv(c, kernel, dilation=1)

    def forward(self, x):
        return self.second(self.first(x))


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2, the second a pixel down and right, batch normalisation."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.first = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(c_in, c_out - c_out // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = F.relu(x)
        # Beyond the border of an odd side are zeros.
        shifted = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
        return self.bn(torch.cat([self.first(x), self.second(shifted)], 1))


class Residual(nn.Module):
    """Residual block of stride 2."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_a = nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False)
        self.bn_a = nn.BatchNorm2d(c_out)
        self.conv_b = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn_b = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x):
        y = self.bn_a(self.conv_a(F.relu(x)))
        y = self.bn_b(self.conv_b(F.relu(y)))
        return y + self.shortcut(F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False))
