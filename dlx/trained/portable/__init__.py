"""What `dlx export` is made of: the graph, the files, what they say of themselves, and rows to compare on."""
