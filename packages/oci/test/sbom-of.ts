// Makes the SBOM of an image whose layers are given as archives, and checks it against the official schema.
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { buildSbom, packageDatabaseBytes, type Sbom } from "@envidence/oci"
import { Ajv } from "ajv"
import { digest, layer, read } from "./layers.js"

export const tool = { name: "emit-evidence", version: "0.1.0" }
export const manifestDigest = digest("a manifest")

export async function sbomOf(...tars: Buffer[]): Promise<Sbom> {
  const options = { wants: packageDatabaseBytes, programs: true }
  const layers = await Promise.all(tars.map((tar, i) => read(layer(tar, "none", i), options)))
  return buildSbom({ manifestDigest, layers, platform: "linux/amd64", tool })
}

/** "name version" of each component that a component needs, by its "name version". */
export function needs(sbom: Sbom): Record<string, string[]> {
  const { components = [], dependencies = [] } = parsed(sbom) as Document
  const name = new Map(components.map(({ "bom-ref": ref, name, version }) => [ref, `${name} ${version ?? "-"}`]))
  const edges = dependencies.filter(({ ref, dependsOn }) => name.has(ref) && dependsOn !== undefined)
  return Object.fromEntries(
    edges.map(({ ref, dependsOn = [] }) => [name.get(ref) ?? "", dependsOn.map(other => name.get(other) ?? other)]),
  )
}

export interface Document {
  readonly components?: readonly {
    readonly "bom-ref": string
    readonly name: string
    readonly version?: string
    readonly purl: string
    readonly licenses?: readonly unknown[]
    readonly hashes?: readonly unknown[]
    readonly properties: readonly { readonly name: string; readonly value: string }[]
  }[]
  readonly dependencies?: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[]
}

// The official schema comes with the library; its own validator wants three packages more for two formats.
const resources = join(
  dirname(createRequire(import.meta.url).resolve("@cyclonedx/cyclonedx-library/package.json")),
  "res",
  "schema",
)
const resource = (name: string) => JSON.parse(readFileSync(join(resources, `${name}.SNAPSHOT.schema.json`), "utf8"))
const schemas = {
  "http://cyclonedx.org/schema/spdx.SNAPSHOT.schema.json": resource("spdx"),
  "http://cyclonedx.org/schema/jsf-0.82.SNAPSHOT.schema.json": resource("jsf-0.82"),
}
const formats = { "date-time": true, "iri-reference": true, "idn-email": true, uri: true } as const
export const validate = new Ajv({ strict: false, schemas, formats }).compile(resource("bom-1.6"))

/** What the official schema says against an SBOM; null for nothing. */
export const problems = (sbom: Sbom) => (validate(parsed(sbom)) ? null : validate.errors)

export const parsed = (sbom: Sbom): Document => JSON.parse(Buffer.from(sbom.bytes).toString())
