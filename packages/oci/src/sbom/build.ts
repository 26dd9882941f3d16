import { createHash } from "node:crypto"
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library"
import { compareBytewise, type Digest, encodeUtf8, type ImageView, UNREADABLE_PROPERTY } from "@envidence/core"
import { PackageURL } from "packageurl-js"
import type { LayerInventory } from "../layer.js"
import { dependencyEdges, MAX_EDGES } from "./dependencies.js"
import { licensesOf } from "./licenses.js"
import type { PackageFacts, PackageType } from "./package-facts.js"
import { type FoundPackage, findPackages, type UnreadableDatabase } from "./packages.js"

export interface SbomInput {
  readonly manifestDigest: Digest
  /** From the base up. */
  readonly layers: readonly LayerInventory[]
  /** For the SBOM's own subject: a short name and the platform, as in `ImageView`. */
  readonly imageName?: string
  readonly platform: ImageView["platform"]
  /** The program that makes the SBOM. */
  readonly tool: { readonly name: string; readonly version: string }
}

export interface SbomComponent {
  readonly type: PackageType
  readonly name: string
  /** Null where its database has none. */
  readonly version: string | null
  readonly purl: string
  /** The layer that brought it. */
  readonly layer: number
  readonly path: string
}

export interface Sbom {
  /** CycloneDX 1.6 JSON: a function of the image and the tool alone, with no clock and no chance in it. */
  readonly bytes: Uint8Array
  readonly specVersion: "1.6"
  readonly components: readonly SbomComponent[]
  /** Components by package URL type. */
  readonly byType: Readonly<Record<string, number>>
  readonly unreadable: readonly UnreadableDatabase[]
}

/** Describes what package managers installed in the image. @throws EvidenceError limit-exceeded */
export function buildSbom(input: SbomInput): Sbom {
  const { packages, unreadable } = findPackages(input.layers)
  const described = packages.map(found => ({ found, component: describe(found) })).sort(inOrder)
  const edges = dependencyEdges(described.map(({ found }) => found))
  const { missingFrom } = edges
  const incomplete = missingFrom === undefined ? [] : [{ ...placeOf(missingFrom), because: EDGES_MISSING }]
  const sorted = [...unreadable, ...incomplete].sort((a, b) => compareBytewise(a.path, b.path) || a.layer - b.layer)
  const bom = new Models.Bom({ serialNumber: serialNumber(input.manifestDigest), metadata: metadata(input, sorted) })
  const refs = distinctRefs(described.map(({ component }) => component))
  const models = described.map(({ found, component }, i) => model(found, component, refs[i] ?? "", input.layers))
  for (const [i, component] of models.entries()) {
    bom.components.add(component)
    for (const needed of edges.of[i] ?? []) addDependency(component, models[needed])
  }
  const components = described.map(({ component }) => component)
  return {
    bytes: serialize(bom),
    specVersion: "1.6",
    components,
    byType: countTypes(components),
    unreadable: sorted,
  }
}

const placeOf = ({ path, layer }: FoundPackage) => ({ path: path.toWellFormed(), layer })

const EDGES_MISSING = `its packages depend on each other more than ${MAX_EDGES} times, and not all of it is listed`

interface Described {
  readonly found: FoundPackage
  readonly component: SbomComponent
}

const inOrder = ({ component: a }: Described, { component: b }: Described) =>
  compareBytewise(a.purl, b.purl) || compareBytewise(a.path, b.path)

function addDependency(component: Models.Component, needed: Models.Component | undefined): void {
  if (needed !== undefined) component.dependencies.add(needed.bomRef)
}

function describe({ facts, layer, path }: FoundPackage): SbomComponent {
  const { type, name, version } = facts
  return { type, name, version, purl: purlOf(facts), layer, path: path.toWellFormed() }
}

function purlOf({ type, name, version, purl }: PackageFacts): string {
  const { namespace, qualifiers } = purl
  return new PackageURL(
    type,
    namespace,
    purl.name ?? name,
    purl.version ?? version,
    qualifiers ?? null,
    null,
  ).toString()
}

/** A database may list a package twice; the library would tell them apart by chance. */
function distinctRefs(components: readonly SbomComponent[]): string[] {
  const seen = new Map<string, number>()
  return components.map(({ purl, path }) => {
    const ref = `${purl}#${path}`
    const times = (seen.get(ref) ?? 0) + 1
    seen.set(ref, times)
    return times === 1 ? ref : `${ref}#${times}`
  })
}

function model(
  found: FoundPackage,
  component: SbomComponent,
  bomRef: string,
  layers: readonly LayerInventory[],
): Models.Component {
  const { name, version, purl, path, layer } = component
  const properties = [
    ["layer:index", String(layer)],
    ["layer:diffId", layers[layer]?.diffId ?? ""],
    ["path", path],
    ...(found.facts.properties ?? []),
  ] as const
  return new Models.Component(Enums.ComponentType.Library, name, {
    bomRef,
    ...(version === null ? {} : { version }),
    purl,
    ...details(found.facts),
    properties: new Models.PropertyRepository(
      properties.map(([key, value]) => new Models.Property(`envidence:${key}`, value)),
    ),
  })
}

const TEXT_LENGTH = 1024

function details(facts: PackageFacts): Models.OptionalComponentProperties {
  const { publisher, description, hashes } = facts
  return {
    licenses: new Models.LicenseRepository(licensesOf(facts)),
    ...(publisher ? { publisher: shorten(publisher) } : {}),
    ...(description ? { description: shorten(description) } : {}),
    ...(hashes === undefined ? {} : { hashes: new Models.HashDictionary(hashes as [Enums.HashAlgorithm, string][]) }),
  }
}

// Cutting between two halves of a character would leave one that no JSON reader takes.
const shorten = (text: string) => text.toWellFormed().slice(0, TEXT_LENGTH).toWellFormed()

// In the SBOM itself, so that whoever has its bytes knows what it could not see.
const unreadableProperty = ({ layer, path, because }: UnreadableDatabase) =>
  new Models.Property(UNREADABLE_PROPERTY, [String(layer), path.toWellFormed(), because].join("\t"))

function metadata(
  { manifestDigest, imageName = "image", platform, tool }: SbomInput,
  unreadable: readonly UnreadableDatabase[],
): Models.Metadata {
  return new Models.Metadata({
    properties: new Models.PropertyRepository(unreadable.map(unreadableProperty)),
    component: new Models.Component(Enums.ComponentType.Container, imageName, {
      bomRef: manifestDigest,
      version: manifestDigest,
      properties: new Models.PropertyRepository([new Models.Property("envidence:platform", platform)]),
    }),
    tools: new Models.Tools({
      components: new Models.ComponentRepository([
        new Models.Component(Enums.ComponentType.Application, tool.name, { bomRef: "tool", version: tool.version }),
      ]),
    }),
  })
}

const UUID_NAMESPACE_URL = Buffer.from("6ba7b8119dad11d180b400c04fd430c8", "hex")

// RFC 9562 section 5.5 (version 5), of a URL that names the image.
function serialNumber(manifestDigest: Digest): string {
  const name = `https://envidence.dev/sbom/${manifestDigest}`
  const bytes = createHash("sha1").update(UUID_NAMESPACE_URL).update(name).digest().subarray(0, 16)
  bytes.writeUInt8(((bytes[6] ?? 0) & 0x0f) | 0x50, 6)
  bytes.writeUInt8(((bytes[8] ?? 0) & 0x3f) | 0x80, 8)
  return `urn:uuid:${bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}`
}

function serialize(bom: Models.Bom): Uint8Array {
  const factory = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6)
  return encodeUtf8(new Serialize.JsonSerializer(factory).serialize(bom, { sortLists: true, space: 2 }))
}

function countTypes(components: readonly SbomComponent[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { type } of components) counts[type] = (counts[type] ?? 0) + 1
  return counts
}
