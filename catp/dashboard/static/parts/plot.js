// The frame of a hand-drawn chart, as wide as there is room.
import {html, useEffect, useRef, useState} from "../vendor/vendor.js";

/**
 * says: the chart in words; names: [[share, text]] under it; children({x(share), y(value), width}) draws in it,
 * over(the same) over it.
 */
export function Plot({says, least = 0, most, unit, names, height = 220, over, children}) {
	const box = useRef(null);
	const [all, setAll] = useState(640);
	useEffect(() => {
		const watch = new ResizeObserver(([one]) => setAll(Math.max(240, Math.floor(one.contentRect.width))));
		watch.observe(box.current);
		return () => watch.disconnect();
	}, []);
	const raw = (most - least) / 4 || 1,
		size = 10 ** Math.floor(Math.log10(raw));
	const step = size * [1, 2, 5, 10].find(k => k * size >= raw * 0.999); // a round one
	const low = Math.floor(least / step + 1e-9),
		high = Math.max(low + 1, Math.ceil(most / step - 1e-9));
	const rules = Array.from({length: high - low + 1}, (_, i) => (low + i) * step),
		left = 8 + 7.5 * Math.max(...rules.map(at => `${unit(at)}`.length)),
		width = all - left - 24;
	const x = share => left + share * width,
		y = value => height - 20 - ((value / step - low) / (high - low)) * (height - 30);
	const every = Math.ceil((names.length * 56) / width); // as many names as fit
	return html`<div class="plot" ref=${box}>
		<svg width=${all} height=${height} role="img" aria-label=${says}>
			${rules.map(
				at => html`
					<path class="rule" d="M${left} ${y(at)}h${width}" />
					<text x=${left - 6} y=${y(at) + 4} class="end">${unit(at)}</text>
				`
			)}
			${names.map(
				([share, text], i) =>
					i % every === 0 && html`<text x=${x(share)} y=${height - 4}>${text}</text>`
			)}
			${children({x, y, width})}
		</svg>
		${over?.({x, y, width})}
	</div>`;
}
