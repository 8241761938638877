"""Write TensorBoard's event files, graphs, histograms and projector files without TensorBoard."""
