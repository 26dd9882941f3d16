/** The distribution of an image (os-release(5)). */
export interface Distribution {
  readonly id: string
  readonly versionId: string | null
  readonly prettyName: string | null
}

const ID = /^[a-z0-9._-]{1,64}$/
const VERSION_ID = /^[a-z0-9._-]{1,64}$/

/** What is malformed is left out: it only qualifies package URLs. Undefined where there is no usable ID. */
export function parseOsRelease(text: string): Distribution | undefined {
  const fields = new Map<string, string>()
  for (const line of text.split("\n")) {
    const [, key, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line.trim()) ?? []
    if (key !== undefined && value !== undefined) fields.set(key, unquote(value))
  }
  const id = fields.get("ID")
  if (id === undefined || !ID.test(id)) return undefined
  const versionId = fields.get("VERSION_ID")
  return {
    id,
    versionId: versionId !== undefined && VERSION_ID.test(versionId) ? versionId : null,
    prettyName: fields.get("PRETTY_NAME")?.slice(0, 256) ?? null,
  }
}

const unquote = (value: string) => /^(["'])(.*)\1$/.exec(value)?.[2]?.replace(/\\(.)/g, "$1") ?? value
