"""The verbs and their one-line descriptions; `dlx/cli/commands` has a module for each except train."""

VERBS = {
    "train": "train what the overrides describe; the same as no verb",
    "sweep": "search for the best settings, and go on with the search: dlx sweep NAME 'optimizer.lr=log(1e-4,1e-1)'",
    "resume": "go on with a run in its directory: dlx resume RUN",
    "evaluate": "measure a run's model on a split: dlx evaluate RUN --split test",
    "predict": "what a run's model says of new data: dlx predict RUN INPUT -o FILE",
    "sample": "draw from a run's generative model: dlx sample RUN -n 64",
    "visualize": "what a run's network sees: dlx visualize RUN [INPUT] --method saliency,grad_cam",
    "list": "what there is to choose from: dlx list models --fits dataset=mnist",
    "describe": "what the data is, before anything trains: dlx describe dataset=csv dataset.path=FILE.csv",
    "info": "layers, shapes, parameters and multiply-adds, without training: dlx info model=lenet5",
    "explain": "the arithmetic of a layer, step by step: dlx explain conv --size 7 --kernel 3 --stride 2",
    "check": "compose, build and take one step, leaving nothing behind: dlx check model=lenet5, or --all",
    "runs": "the runs below outputs/, filtered and sorted: dlx runs --where model=mlp --best test/accuracy",
    "compare": "runs side by side: dlx compare RUN RUN",
    "record": "keep what a finished run measured in docs/results/: dlx record RUN",
    "export": "write a run's model, raw rows in, as ONNX or a torch program: dlx export RUN -o FILE.onnx",
    "tensorboard": "show the curves: dlx tensorboard [RUN or DIR]",
    "trust": "let a directory's own modules be built, as where you have trained: dlx trust DIR",
    "doctor": "versions, devices, writable directories, data found",
}
