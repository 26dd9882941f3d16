import type { Finding } from "../rejudge.js"

const SHOWN = 6

/** What to change, each once: the parts' own remedies where there are parts. */
export function remediesOf({ remedy, parts }: Finding): string[] {
  const all = parts.length === 0 ? [remedy] : parts.map(part => part.remedy)
  return [...new Set(all)].filter(text => text !== "").slice(0, SHOWN)
}
