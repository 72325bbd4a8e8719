// What can be done with a run: answer its questions, cancel, resume, replay and score it; compare, export, share it.
import {html, useState} from "../vendor/vendor.js";
import {send, url} from "../api.js";
import {go, may, useData} from "../store.js";
import {Act, Copy, Link, When, stateOf, usd} from "./basics.js";
import {Field, Form} from "./forms.js";

export function Actions({state}) {
	const run = state.run.value,
		[Part, show] = useState(null),
		close = () => show(null);
	const button = (text, part, kind = "") => html`<button class=${kind} onClick=${() => show(() => part)}>
		${text} …
	</button>`;
	return html`<div class="row actions">
		${may() && html`
			${["running", "waiting", "interrupted"].includes(run.status) && button("Cancel", Cancel, "danger")}
			${run.status === "interrupted" && html`<${Act} run=${() =>
					send("POST", `runs/${run.id}/resume`).then(state.reload)}>
				Resume
			<//>`}
			${button("Replay", Replay)}${run.ended && button("Score", Score)}
		`}
		<${Link} to="compare" query=${{ids: [run.id, run.parent].filter(Boolean).join(",")}}>Compare<//>
		<details class="menu">
			<summary>Export</summary>
			<ul>${["json", "csv", "otlp", "html"].map(
				format => html`<li><a href=${url(`runs/${run.id}/export`, {format})} download>${format.toUpperCase()}</a></li>`
			)}</ul>
		</details>
		<${Copy} label="Share" text=${location.href} />
		${Part && html`<${Part} ...${{state, run, close}} />`}
	</div>`;
}

/** Open questions of the run, each with what it may cost and until when it can be answered. */
export function Questions({state}) {
	const {approvals, id, status} = state.run.value;
	const [reason, setReason] = useState(""),
		[cap, setCap] = useState("");
	const answer = (verb, node, capped) => async () => {
		await send("POST", `runs/${id}/${verb}`, {node, reason, cap: capped});
		if (status === "waiting") await send("POST", `runs/${id}/resume`, {budget: capped}); // nobody drives it now
		state.reload();
	};
	return approvals.map(
		one => html`<section class="card question" aria-label="Approval">
			<h2>${one.node === null ? "May the whole plan run?" : html`May step <bdi>${one.node}</bdi> run?`}</h2>
			<p>
				${one.cap === null ? "No cap on its price" : html`It may cost up to <strong>${usd(one.cap)}</strong>`}, asked <${When} at=${one.requested} />
				${one.expires && html`, until <${When} at=${one.expires} />`}.
			</p>
			<dl class="detail">${Object.entries(one.detail)
				.filter(([, value]) => value !== null)
				.map(
					([key, value]) => html`<div>
						<dt>${key}</dt>
						<dd dir="auto">${/expected|p95/.test(key)
							? usd(value)
							: typeof value === "string"
								? value
								: Array.isArray(value)
									? value.join(", ")
									: JSON.stringify(value)}</dd>
					</div>`
				)}</dl>
			${may()
				? html`<div class="row">
						<input aria-label="reason" placeholder="reason (optional)" value=${reason}
							onInput=${event => setReason(event.target.value)} />
						<${Act} class="first" run=${answer("approve", one.node)}>Approve<//>
						${one.node === null && html`
							<label>
								at most $ <input size="8" inputmode="decimal" value=${cap}
									onInput=${event => setCap(event.target.value)} />
							</label>
							<${Act} run=${answer("approve", null, cap)}>Approve with cap<//>
						`}
						<${Act} class="danger" run=${answer("reject", one.node)}>Reject<//>
					</div>`
				: html`<p class="muted">An operator can answer.</p>`}
		</section>`
	);
}

function Cancel({state, run, close}) {
	const reason = useState("");
	return html`<${Form} title="Cancel this run" verb="Cancel the run" kind="danger" close=${close}
		run=${() => send("POST", `runs/${run.id}/cancel`, {reason: reason[0]}).then(state.reload)}>
		<p>Steps that have not ended stop; what they have cost by then is paid.</p>
		<${Field} label="Reason" of=${reason} />
	<//>`;
}

function Score({state, run, close}) {
	const value = useState(run.quality ?? ""),
		note = useState("");
	return html`<${Form} title="Score this run" verb="Save" close=${close}
		run=${() => send("POST", `runs/${run.id}/score`, {value: value[0], note: note[0]}).then(state.reload)}>
		<${Field} label="Quality, 0 to 1" of=${value} type="number" min="0" max="1" step="0.01" />
		<${Field} label="Note" of=${note} />
	<//>`;
}

function Replay({state, run, close}) {
	const nodes = state.nodes.value,
		steps = state.ids.value.filter(id => nodes[id].in_plan);
	const from = useState(steps.find(id => !["ok", "skipped"].includes(nodes[id].status)) ?? ""),
		tool = useState(""),
		budget = useState(run.budget ?? ""),
		[step] = from;
	const {data} = useData(step === "" ? null : `runs/${run.id}/nodes/${encodeURIComponent(step)}`),
		others = data?.id === step ? data.alternatives : [];
	const start = () =>
		send(
			"POST",
			`runs/${run.id}/replay`,
			{from_node: step || null, set: tool[0] ? {[step]: tool[0]} : {}, budget: budget[0] || null},
			crypto.randomUUID?.()
		).then(found => go(`runs/${found.run}`));
	return html`<${Form} title="Replay this run" verb="Replay" close=${close} run=${start}>
		<${Field} label="From step" of=${[step, one => (from[1](one), tool[1](""))]}
			options=${[["", "what is not done"], ...steps.map(id => [id, `${id} · ${stateOf(nodes[id].status)[1]}`])]}
			note="Results of steps before it are used again and cost nothing." />
		${step && html`<${Field} label="Its tool" of=${tool}
			options=${[
				["", `${nodes[step].tool} (as it was)`],
				...others.map(one => [one.tool, `${one.tool}${one.cost === null ? "" : `, usually ${usd(one.cost)}`}`])
			]}
			note="${others.length} others fit." />`}
		<${Field} label="Budget, $" of=${budget} inputmode="decimal" />
	<//>`;
}
