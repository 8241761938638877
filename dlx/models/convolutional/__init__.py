"""Networks of convolutions, from LeNet-5 on."""
