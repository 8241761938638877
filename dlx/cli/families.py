"""The named convolutional networks: year, depth, size and source of each, for `dlx list models --family`."""

from typing import NamedTuple


class Network(NamedTuple):
    """One network as its default configuration builds it."""

    model: str
    year: int
    depth: int  # convolutions and dense layers on the longest way, counted on the network
    parameters: int
    macs: int  # multiply-adds of one image's forward pass
    size: int  # of that image: 3×size², with 1000 classes at 224 and 10 below; lenet5's has one channel
    source: str


FAMILIES: dict[str, tuple[Network, ...]] = {
    "convolutional": (
        Network("lenet5", 1998, 5, 61_706, 416_520, 28, "LeCun et al., Proc. IEEE 86"),
        Network("alexnet", 2012, 8, 61_100_840, 714_188_480, 224, "Krizhevsky et al., NIPS"),
        Network("zfnet", 2013, 8, 62_357_608, 1_168_032_896, 224, "Zeiler, Fergus, https://arxiv.org/abs/1311.2901"),
        Network(
            "vgg11", 2014, 11, 132_863_336, 7_609_090_048, 224, "Simonyan, Zisserman, https://arxiv.org/abs/1409.1556"
        ),
        Network(
            "vgg13", 2014, 13, 133_047_848, 11_308_466_176, 224, "Simonyan, Zisserman, https://arxiv.org/abs/1409.1556"
        ),
        Network(
            "vgg16", 2014, 16, 138_357_544, 15_470_264_320, 224, "Simonyan, Zisserman, https://arxiv.org/abs/1409.1556"
        ),
        Network(
            "vgg19", 2014, 19, 143_667_240, 19_632_062_464, 224, "Simonyan, Zisserman, https://arxiv.org/abs/1409.1556"
        ),
        Network(
            "googlenet", 2014, 22, 6_624_904, 1_498_376_192, 224, "Szegedy et al., https://arxiv.org/abs/1409.4842"
        ),
        Network(
            "inception_v4", 2016, 76, 42_679_816, 6_121_894_752, 224, "Szegedy et al., https://arxiv.org/abs/1602.07261"
        ),
        Network("resnet18", 2015, 18, 11_689_512, 1_814_073_344, 224, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet34", 2015, 34, 21_797_672, 3_663_761_408, 224, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet50", 2015, 50, 25_557_032, 4_089_184_256, 224, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet101", 2015, 101, 44_549_160, 7_801_405_440, 224, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet152", 2015, 152, 60_192_808, 11_513_626_624, 224, "He et al., https://arxiv.org/abs/1512.03385"),
        Network(
            "preact_resnet18", 2016, 18, 11_687_720, 1_814_073_344, 224, "He et al., https://arxiv.org/abs/1603.05027"
        ),
        Network(
            "preact_resnet50", 2016, 50, 25_549_352, 3_857_973_248, 224, "He et al., https://arxiv.org/abs/1603.05027"
        ),
        Network("resnet20", 2015, 20, 269_722, 40_551_040, 32, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet32", 2015, 32, 464_154, 68_862_592, 32, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet44", 2015, 44, 658_586, 97_174_144, 32, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet56", 2015, 56, 853_018, 125_485_696, 32, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("resnet110", 2015, 110, 1_727_962, 252_887_680, 32, "He et al., https://arxiv.org/abs/1512.03385"),
        Network("preact_resnet20", 2016, 20, 272_282, 40_813_184, 32, "He et al., https://arxiv.org/abs/1603.05027"),
        Network("preact_resnet32", 2016, 32, 466_714, 69_124_736, 32, "He et al., https://arxiv.org/abs/1603.05027"),
        Network("preact_resnet44", 2016, 44, 661_146, 97_436_288, 32, "He et al., https://arxiv.org/abs/1603.05027"),
        Network("preact_resnet56", 2016, 56, 855_578, 125_747_840, 32, "He et al., https://arxiv.org/abs/1603.05027"),
        Network(
            "preact_resnet110", 2016, 110, 1_730_522, 253_149_824, 32, "He et al., https://arxiv.org/abs/1603.05027"
        ),
        Network(
            "preact_resnet164", 2016, 164, 1_703_258, 244_500_992, 32, "He et al., https://arxiv.org/abs/1603.05027"
        ),
        Network("airbench", 2024, 8, 1_971_640, 118_147_360, 32, "Jordan, https://arxiv.org/abs/2404.00498"),
    )
}
