// Plans before they run: what a task would cost, how, and what would change that; and runs that wait for a yes.
import {html, useEffect, useRef, useState} from "../vendor/vendor.js";
import {send} from "../api.js";
import {go, may, setQuery, useData, useEvents} from "../store.js";
import {Card, Failure, Link, Loaded, duration, usd} from "../parts/basics.js";
import {Questions} from "../parts/actions.js";
import {Plans, Verdict, WhatIf} from "../parts/candidates.js";
import {columns} from "../parts/columns.js";
import {Field, Form} from "../parts/forms.js";
import {Graph, toggled} from "../parts/graph.js";
import {Table} from "../parts/table.js";

const VERDICT = columns("verdict.fit:verdict", {"verdict.fit": (_, row) => html`<${Verdict} of=${row.verdict} />`});
const STEPS = columns("id:step|tool:tool|est.cost:expected price:p$|est.ms:expected time:pms|slack_ms:slack:ms", {
	slack_ms: (ms, {critical}) => (critical ? "critical" : duration(ms))
});

export default function Page({query}) {
	if (query.get("approve")) return html`<${Approve} id=${query.get("approve")} query=${query} />`;
	return html`
		<h1>Plan</h1>
		${may() ? html`<${Planner} query=${query} />` : html`<p>Only operators plan, and on no read-only server.</p>`}
	`;
}

/** The inputs of the form: each fieldset has a name, a kind, a text and a file. */
async function inputsOf(form) {
	const inputs = {};
	for (const {
		elements: [
			name,
			kind,
			text,
			{
				files: [file]
			}
		]
	} of form.querySelectorAll("fieldset")) {
		inputs[name.value] = !file
			? {text: text.value, mime: kind.value}
			: {
					base64: await new Promise((done, fail) => {
						const reader = Object.assign(new FileReader(), {
							onload: () => done(reader.result),
							onerror: () => fail(reader.error)
						});
						reader.readAsDataURL(file);
					})
				};
	}
	return inputs;
}

function Planner({query}) {
	const [rows, setRows] = useState([]),
		[{busy, error, found, body}, setState] = useState({});
	const [alpha, setAlpha] = useState(query.get("alpha") ?? "0.8"),
		form = useRef(null),
		stop = useRef(null);
	useEffect(() => () => stop.current?.abort(), []);
	const plan = async changed => {
		stop.current?.abort();
		stop.current = new AbortController();
		setState({busy: true, found, body});
		const {task, budget, deadline} = Object.fromEntries(new FormData(form.current));
		const short = task.length > 1000 ? null : task; // what is longer stays with this entry of the history
		setQuery(
			{task: short, alpha: alpha === "0.8" ? null : alpha, budget, deadline, c: null, open: null, step: null},
			{task}
		);
		try {
			const what = /\n\s*out\s+[a-z_]/.test(task) ? {plan: task} : {task};
			const asked = {
				...what,
				inputs: await inputsOf(form.current),
				alpha: Number(alpha),
				budget: budget || null,
				deadline_s: deadline || null,
				...changed
			};
			const answer = await send("POST", "plans:preview", asked, undefined, stop.current.signal);
			setState({found: answer, body: {...asked, task: answer.task}});
		} catch (problem) {
			setState(problem.name === "AbortError" ? {} : {error: problem});
		}
	};
	return html`<div class="plan">
		<form class="card" ref=${form} onSubmit=${event => (event.preventDefault(), plan())}>
			<label class="field">
				Task, or the text of a plan <textarea name="task" rows="4" required
					placeholder="read this page and tell me its language" defaultValue=${history.state?.task ?? query.get("task")}></textarea>
			</label>
			${rows.map(
				id => html`<fieldset key=${id}>
					<legend>Input ${id}</legend>
					<div class="row">
						<${Field} label="name" defaultValue="input${id}" pattern="[A-Za-z_][A-Za-z0-9_]*" required />
						<label class="field">
							kind <select><option value="">text</option><option value="application/json">JSON</option></select>
						</label>
					</div>
					<label class="field">value <textarea rows="2"></textarea></label>
					<${Field} label="or a file" type="file" />
					<button type="button" class="quiet" onClick=${() => setRows(rows.filter(one => one !== id))}>Remove</button>
				</fieldset>`
			)}
			<p><button type="button" onClick=${() => setRows([...rows, (rows.at(-1) ?? 0) + 1])}>Add input</button></p>
			<${Field} label="Quality against price: alpha ${alpha}" type="range" min="0" max="1" step="0.05" value=${alpha}
				onInput=${({target}) => setAlpha(target.value)} note="0 is as cheap as possible, 1 as good as possible." />
			<div class="row">
				<${Field} label="Budget, $" name="budget" inputmode="decimal" defaultValue=${query.get("budget")} />
				<${Field} label="Deadline, s" name="deadline" inputmode="decimal" defaultValue=${query.get("deadline")} />
			</div>
			<div class="row" role="status"><button class="first">Plan</button>${busy && "Planning …"}</div>
		</form>
		<div>
			${error && html`<${Failure} error=${error} />`}
			${found
				? html`<${Found} key=${found.preview} ...${{found, body, query, plan}} />`
				: !error &&
					html`<p class="empty">What could be done, and for how much, will be here. Planning calls no tool.</p>`}
		</div>
	</div>`;
}

function Found({found, body, query, plan}) {
	const [asking, setAsking] = useState(false),
		[what, setWhat] = useState(null),
		text = useRef(null);
	const {candidates, preview, previous} = found,
		chosen = candidates[(query.get("c") ?? 1) - 1] ?? candidates[0],
		{rank, source, verdict} = chosen;
	const at = `previews/${preview}/${rank}`,
		drawn = useData(at),
		others = useData(`${at}/alternatives`),
		take = changed => plan({plan: changed, task: body.task}),
		taking = answer => html`<button onClick=${() => take(answer.source)}>Take this plan</button>`;
	return html`
		<${Card}>
			<div class="row apart">
				<h2>Candidates</h2>
				<button class="first" disabled=${!verdict.fits} onClick=${() => setAsking(true)}>Run plan ${rank} …</button>
			</div>
			<${Plans} rows=${candidates} open=${row => setQuery({c: row.rank})}
				rowClass=${row => (row.rank === rank ? "on" : "")} more=${VERDICT} />
			<p class="muted">${found.says}</p>
		<//>
		<${Card} title="Plan ${rank}">
			<p><${Verdict} of=${verdict} why /></p>
			<${Drawn} ...${{at, query, drawn, what}} steps=${chosen.nodes} />
		<//>
		<${Card} title="What if …">
			<${Loaded} of=${others} what="alternatives">${tools => html`<${WhatIf} key=${at} basis=${{plan: source, preview}}
				outputs=${chosen.optional} others=${tools} seen=${setWhat}>${taking}<//>`}<//>
		<//>
		<${Before} ...${previous} diff=${chosen.diff} />
		<details class="card">
			<summary>Text of the plan</summary>
			<textarea key=${rank} ref=${text} rows="12" class="mono" aria-label="text of the plan" spellcheck="false"
				defaultValue=${source}></textarea>
			<button onClick=${() => take(text.current.value)}>Price this text</button>
		</details>
		${asking && html`<${Start} ...${{chosen, found, body}} close=${() => setAsking(false)} />`}
	`;
}

function Start({chosen: {rank, est, est_ms, source}, found, body, close}) {
	// not p95 itself: a first call that starts a worker is dearer
	const [cap, setCap] = useState(body.budget ?? (est.p95 ? (2 * est.p95).toFixed(9) : "")),
		key = useRef(crypto.randomUUID?.());
	const run = async () => {
		const asked = {...body, plan: source, preview: found.preview, cap: cap || null};
		const {run: id} = await send("POST", "runs", asked, key.current + cap);
		go(`runs/${id}`);
	};
	return html`<${Form} title="Run plan ${rank}" close=${close} run=${run}
		verb="Run for up to ${cap ? usd(cap) : "any amount"}">
		<p>
			Expected to cost <strong>${usd(est.p50)}</strong>, p95 ${usd(est.p95)}, and to take ${duration(est_ms.p50)}.
			${found.asks && " It will wait for approval."}
		</p>
		<${Field} label="Spend at most, $" inputmode="decimal" of=${[cap, setCap]}
			note="No call is made that could take the run over it. Empty: no cap." />
	<//>`;
}

/** A plan as a graph and as a table. `at` is its path in the API, `what` an estimate of a change to it. */
function Drawn({at, query, drawn, steps, what}) {
	const graph = (plan, layout) => html`<${Graph} ...${{plan, layout}} nodes=${nodes} selected=${step}
		labels=${what?.labels} select=${id => setQuery({step: id})} toggle=${id => setQuery({open: toggled(open, id)})} />`;
	const nodes = Object.fromEntries(steps.map(one => [one.id, one]));
	const open = query.get("open") ?? "",
		step = query.get("step"),
		layout = useData(`${at}/layout`, {open});
	return html`
		<${Loaded} of=${drawn} what="the plan">${plan => html`<${Loaded} of=${layout} what="the graph">${data =>
			graph(plan, data)}<//>`}<//>
		<${Table} caption="Steps of the plan" columns=${STEPS} rows=${steps}
			rowClass=${row => (row.id === step ? "on" : "")} />
	`;
}

const Before = ({run, diff}) =>
	diff &&
	html`<${Card} title="Against the last plan for this task">
		<p><${Link} to="runs/${run}">The last run<//> had ${diff.same ? "this plan." : "another:"}</p>
		<ul>${diff.says.map(one => html`<li><code>${one}</code></li>`)}</ul>
	<//>`;

/** A run that waits for a yes, to its whole plan or to steps. */
function Approve({id, query}) {
	const found = useData(`runs/${id}`),
		before = useData(`runs/${id}/previous`),
		quote = useData(`runs/${id}/quote`),
		{data: run, reload} = found;
	const at = `plans/${run?.plan_hash}`,
		drawn = useData(run && at);
	useEvents(run && `run:${run.id}`, {event: ({type}) => /approval|^run/.test(type) && reload(), resync: reload});
	return html`<${Loaded} of=${found} what="the run">${() => html`
		<h1>Approve: <bdi dir="auto">${run.task}</bdi></h1>
		<p role="status">
			<${Link} to="runs/${run.id}">This run<//> ${run.approvals.length
				? "waits for an answer"
				: "waits for no answer now"}; it has spent ${usd(run.cost.amount)}.
		</p>
		<${Questions} state=${{run: {value: run}, reload}} />
		<${Card} title="Plan">
			<${Loaded} of=${quote} what="the estimates">${({nodes, verdict}) => html`
				<p><${Verdict} of=${verdict} why /></p>
				<${Drawn} ...${{at, query, drawn}} steps=${nodes} />
			`}<//>
		<//>
		<${Before} ...${before.data} />
	`}<//>`;
}
