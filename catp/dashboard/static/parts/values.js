// Values of a run. They are hostile: shown as text, never interpreted.
import {html, useState} from "../vendor/vendor.js";
import {url} from "../api.js";
import {number} from "./basics.js";

export const PICTURE = /^image\/(png|jpeg|gif|webp)/;
const FIRST = 2000;

export function Value({port, from, element, mime, bytes, text, truncated, artifact, error, more}) {
	const [whole, setWhole] = useState(false),
		file = artifact && url(`artifacts/${artifact}`);
	if (more) return html`<li class="muted">and ${more} more elements</li>`;
	return html`<li>
		<div class="muted">
			<bdi>${port}${from && port !== "result" && ` ← ${from}`}</bdi>
			${element !== null && ` [${element}]`} · ${mime}
			${bytes !== null && ` · ${number(bytes)} bytes`}
			${file && html` · <a href=${file} download>Download</a>`}
		</div>
		${error
			? html`<p class="failure">${error}</p>`
			: text !== null
				? html`
						<pre dir="auto" tabindex="0">${visible(whole ? text : text.slice(0, FIRST))}</pre>
						${text.length > FIRST && html`<button class="quiet" aria-expanded=${whole} onClick=${() => setWhole(!whole)}>${whole
							? "Show less"
							: `Show more (${number(text.length)} characters${truncated ? " of a longer text" : ""})`}</button>`}
					`
				: PICTURE.test(mime) && file
					? html`<a href=${file}><img src="${file}?thumb=256" alt="${port} of the step" loading="lazy" /></a>`
					: html`<p class="muted">Too large or no text: not shown here.</p>`}
	</li>`;
}

// What nobody would see, or what changes the order of reading: controls, zero width, direction marks, tags.
const HIDDEN = new RegExp(
	"([\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
		"\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}])",
	"u"
);
export const visible = text =>
	text
		.split(HIDDEN)
		.map((part, i) =>
			i % 2 ? html`<mark>U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}</mark>` : part
		);

/** Two pictures over each other; the slider says how much of the earlier one is seen. */
export function Slider({before, after}) {
	const [share, setShare] = useState(50);
	return html`<figure class="slider">
		<div>
			<img src=${url(`artifacts/${before}`)} alt="before" />
			<img src=${url(`artifacts/${after}`)} alt="after" style="clip-path:inset(0 0 0 ${share}%)" />
		</div>
		<label>
			before <input type="range" value=${share} aria-label="how much of the picture before is shown"
				onInput=${({target}) => setShare(target.value)} /> after
		</label>
	</figure>`;
}
