"""The checks, one file a family; `provenet.doctor.registry` lists them all."""
