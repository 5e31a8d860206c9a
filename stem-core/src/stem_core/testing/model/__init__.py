"""A model of a broker and a machine that compares any broker with it, step by random step.

`reference` says in the simplest words what the contract promises and knows no store;
`line` says who comes before whom; `drafts` are the wishes that a random run is made of;
`bench` is where a store stands while it is compared; `machine` has one rule for each
thing that can happen to it.

    from stem_core.testing import run_model

    def test_it_does_what_the_model_says():
        run_model(open_stage)  # any function, plain or async, that returns a fresh `Stage`
"""
