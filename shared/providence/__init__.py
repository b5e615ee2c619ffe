r"""Providence: a population of small strategies that maximises expected geometric growth.

.. math::

    \max E[\ln W] = \max E\Big[\sum_i \int f_i(H_i) \cdot \mathrm{sign}(H_i - \theta_i) \cdot
    \frac{dS}{S}\Big]

Each run ``i`` is one term: ``H_i`` the permutation entropy of its symbol's price, ``theta_i`` its
own threshold, ``f_i`` its Kelly-scaled size, ``dS/S`` the return. Runs that grow are cloned and
mutated, runs that do not end.

Pure: arrays in, arrays out, no I/O, no clock; the time and the random generator are arguments.

=============== ================================================================
``entropy``     permutation entropy, static and incremental
``signals``     entropy -> direction {-1, 0, +1}
``sizing``      Kelly fraction of a run, Kelly factor of a cohort
``ledger``      virtual order ledger: replay of a journal, funding index
``step``        one tick: (records, binding, market, rules) -> fills
``fills``       the journal's rows
``binding``     runs -> rows and columns of a market; refuses bad parameters
``market``      samples -> ``TickMarket``: entropy grid and look-backs
``aggregate``   per-symbol sums of a shard
``population``  draw, clone, mutate, retire
``epochs``      heights, growth of cohorts, cross-run entropy
``run_state``   record layout, pack and unpack
``rules``       costs, limits, parameter space
=============== ================================================================
"""
