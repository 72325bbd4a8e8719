"""How the figures of the pages are computed, in the words that the pages show; they go with the figures."""

__all__ = ["BUDGETS_HOW", "CALIBRATION_HOW", "FIGURES_HOW", "SPEND_HOW", "TOOLS_HOW"]

FIGURES_HOW = {
    "Estimated": "What the plan was quoted at, and how far off that was.",
    "Forecast": "Spent, and what unfinished steps are expected to cost: as estimated when they were called, before "
    "that what their tools used to cost, at least the plan's quote if nothing is known. p90 adds high estimates: an "
    "upper bound.",
    "Budget left": "Budget less what was spent; what is held for running calls is not taken off.",
    "Critical path": "The longest chain of steps that wait for each other: with the time they took, or are estimated "
    "to take.",
    "Time": "From start to end, with all waiting.",
    "Quality": "0 to 1: measured is the score that was given to this run, predicted what the planner expected.",
    "utility": "alpha × quality − (1 − alpha) × price, as a share of the price of the cheapest plan about as good as "
    "the best.",
    "Scale": "Utility is α · quality − (1 − α) · cost / scale, as the planner weighs plans. The scale is the price of "
    "the cheapest point within 0.01 of the best quality. Dashed lines join equal utilities.",
}
"""Of figures that several pages show, by the name they have there; part of `/meta`."""

TOOLS_HOW = {
    "price": "Median over the latest calls that were really made and ended well. The estimate is what was expected "
    "when these calls began.",
    "bias": "Sum of actual prices / sum of estimates − 1, over the same calls. Above 0 the estimates are too low.",
    "time": "Quantiles of all calls that ended well and were not answered from the cache. Times are counted by day in "
    "steps of 19 %, so quantiles are right to about 9 %.",
    "use": "Share of the latest 2,000 runs that called it. On frontier: of those runs whose plan is on the Pareto "
    "frontier (cost, quality) of its task, over tasks that were planned in several ways.",
    "quality": "Mean quality of runs that used it less that of runs that did not, in hundredths; measured if three "
    "runs of each kind were, else predicted. A difference, not an effect: hard tasks may call for a tool.",
}

CALIBRATION_HOW = (
    "Calls that were made and ended well, by rising prediction in up to ten groups of about equal size; a point is the "
    "mean of a group, on the dashed line the prediction was right. Bias: sum of actual / sum of predicted − 1. Median "
    "error: of |actual − predicted| / predicted. The p95 of a price is what was reserved for the call."
)

SPEND_HOW = {
    "total": "Every call is counted in the day (UTC) in which it started. Calls whose price nobody knows are in no "
    "sum.",
    "reconcile": "The sums shown are kept by day. They are compared with the ledger, row by row; runs that are no "
    "longer kept have left their daily sums, but no rows.",
    "run": "Spent / runs created in these days.",
    "ok": "Spent, also on runs that failed, / runs created in these days that ended complete.",
    "quality": "Cost of the runs whose quality is known / points, where a point is one hundredth of full quality: "
    "measured if any run has a measured one, else predicted.",
    "tokens": "Price / thousands of tokens, read and written, over the latest 500 calls of each version of a tool that "
    "reported both.",
}

BUDGETS_HOW = {
    "held": "What running calls have reserved; it is given back, or spent, when they end.",
    "forecast": "A thousand futures, each drawn from the whole days of the last four weeks with replacement (a "
    "bootstrap): p50 is passed by half of them, p90 by a tenth. It knows no trend and no weekdays. A budget without a "
    "period is looked at for thirty days.",
}
