// Why a run has its plan: what else was considered, and what another tool would change. Nothing here calls a tool.
import {html, useEffect, useState} from "../vendor/vendor.js";
import {send} from "../api.js";
import {go, may, meta, useData} from "../store.js";
import {Act, Choice, Failure, How, Link, Loaded, Sign, number, usd} from "./basics.js";
import {columns} from "./columns.js";
import {Table} from "./table.js";

export function Verdict({of, why}) {
	const sign = !of.fits ? "✕ bad" : of.fit === "fits" ? "✓ good" : "◪ warn";
	return html`
		<${Sign} of=${sign}>${of.fit.replaceAll("_", " ")}<//>
		${why && of.reasons.map(one => html`<br />${one.text}${one.help && `; ${one.help}`}`)}
	`;
}
const PLANS = columns(
	"rank:rank:n|est:expected price:p$|est_ms:expected time:pms|quality:predicted quality:n|utility:utility:n",
	{quality: value => number(value, 2), utility: value => number(value, 3)}
);

/** The plans there are; `more` are further columns. */
export function Plans({rows, more, ...rest}) {
	const utility = {...PLANS[4], title: html`utility <${How} of="utility">${meta.value.how.utility}<//>`};
	return html`<${Table} caption="Plans that were considered" columns=${[...PLANS.slice(0, 4), utility, ...more]}
		rows=${rows.map(one => ({...one, id: one.rank}))} ...${rest} />`;
}

/**
 * Another tool for a step, on paper. basis: {run} or {plan, preview}; others: {step: alternatives};
 * outputs: those that may be dropped; seen(answer) hears of every estimate; children(answer) acts on one.
 */
export function WhatIf({basis, others, outputs = [], seen, children}) {
	const [change, pick] = useState(""),
		[{found, error}, setFound] = useState({});
	useEffect(() => {
		const stop = new AbortController(),
			show = answer => (setFound(answer), seen?.(answer.found));
		if (!change) show({});
		else
			send("POST", "plans:whatif", {...basis, ...JSON.parse(change)}, undefined, stop.signal).then(
				one => show({found: one}),
				problem => problem.name !== "AbortError" && show({error: problem})
			);
		return () => stop.abort();
	}, [change]);
	const options = [
		...Object.entries(others).flatMap(([id, all]) =>
			all.map(one => [JSON.stringify({swap: {[id]: one.tool}}), `${id}: ${one.instead_of} → ${one.tool}: ${one.says}`])
		),
		...outputs.map(name => [JSON.stringify({drop: [name]}), `without ${name}`])
	];
	return options.length
		? html`
				<${Choice} label="change" value=${change} options=${[["", "nothing"], ...options]} pick=${pick} />
				<div role="status">
					${error && html`<${Failure} error=${error} />`}
					${found && html`<p>
						<strong>${found.delta.says}</strong>: ${found.says} <${Verdict} of=${found.verdict} why />
					</p>`}
				</div>
				${found && children(found)}
			`
		: "No other tool of the catalogue fits.";
}

export function Candidates({run, selected}) {
	const found = useData(`runs/${run.id}/candidates`),
		others = useData(may() && (selected || run.progress.total <= 60) ? `runs/${run.id}/alternatives` : null, {
			step: selected
		});
	const replay = async swap =>
		go(`runs/${(await send("POST", `runs/${run.id}/replay`, {set: swap}, crypto.randomUUID?.())).run}`);
	return html`
		<${Loaded} of=${found} what="candidates">${({items}) =>
			items.length
				? html`<${Plans} rows=${items}
						more=${columns("chosen:chosen|plan_hash:graph:-", {
							chosen: chosen => chosen && html`<span class="chip good">✓ chosen</span>`,
							plan_hash: (plan, {rank}) => html`<${Link} to="runs/${run.id}" query=${{plan}}>plan ${rank}<//>`
						})} />`
				: html`<p class="muted">This plan was given; no other was considered.</p>`}<//>
		<${Loaded} of=${others} what="alternatives">${tools => html`
			<h3>What if …</h3>
			<${WhatIf} key=${selected} basis=${{run: run.id}} others=${tools}>${({swap, anew}) => html`<${Act} class="first"
				run=${() => replay(swap)}>
				Replay with this
			<//> <small class="muted">runs ${anew.steps.join(", ")} anew, about ${usd(anew.cost)}</small>`}<//>
		`}<//>
	`;
}
