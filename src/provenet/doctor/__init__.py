"""Why a net does not train: instruments that measure, checks that judge, a ranking that names causes."""
