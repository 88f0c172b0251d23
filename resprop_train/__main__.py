"""``python -m resprop_train``, and what ``torchrun -m resprop_train`` starts."""

from resprop_train.cli import main

if __name__ == "__main__":
    main(prog_name="resprop-train")
