// Forms in dialogs and their fields.
import {html} from "../vendor/vendor.js";
import {Act, Dialog} from "./basics.js";

/** A labelled input, or a select if it has `options` ([[value, text]]); `of`: [value, set] of a useState. */
export function Field({label, of: [value, set] = [], options, note, ...rest}) {
	const all = set ? {...rest, value, onInput: ({target}) => set(target.value)} : rest;
	return html`<label class="field">
		${label} ${options
			? html`<select ...${all}>${options.map(([key, text]) => html`<option value=${key}>${text}</option>`)}</select>`
			: html`<input ...${all} />`}
		${note && html`<small>${note}</small>`}
	</label>`;
}

/** A dialog with fields (children) and one button, which closes it when `run` has succeeded. */
export const Form = ({title, close, kind = "first", verb, run, children}) => html`<${Dialog} title=${title}
	close=${close}>
	<form onSubmit=${event => event.preventDefault()}>
		${children}
		<${Act} class=${kind} run=${async () => (await run(), close())}>${verb}<//>
	</form>
<//>`;
