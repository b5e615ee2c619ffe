"""Optimisation that is judged out of sample: walk-forward folds, Optuna studies, honest figures.

=============== ================================================================
``folds``       training and test windows with a purged gap between them
``overfitting`` deflated Sharpe ratio, probability of backtest overfitting
``space``       which keys of ``config.yml`` are searched, in which ranges
``trial``       one configuration over one fold, given up early when it is poor
``studies``     trials in MariaDB: claimed once, kept alive, taken over when dead
``work``        what a worker does with one trial
``search``      the loop that has the trials done
``senders``     how trials reach workers: by Celery, or done on the spot
``local``       servers and workers of this checkout's own
``outcome``     what is chosen in training, and what it earned afterwards
``proposal``    the choice as a diff of ``config.yml``
``outputs``     the folder and the page; ``pictures`` draws for it
``api``         all of it in one call
=============== ================================================================
"""
