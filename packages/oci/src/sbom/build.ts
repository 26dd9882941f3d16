import { createHash } from "node:crypto"
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library"
import { compareBytewise, type Digest, encodeUtf8, type ImageView, UNREADABLE_PROPERTY } from "@envidence/core"
import { PackageURL } from "packageurl-js"
import type { LayerInventory } from "../layer.js"
import { debianLicenses, pythonLicenses } from "./licenses.js"
import type { Distribution } from "./os-release.js"
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
  readonly type: "deb" | "pypi"
  readonly name: string
  readonly version: string
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
  const { packages, unreadable, distribution } = findPackages(input.layers)
  const described = packages.map(found => ({ found, component: describe(found, distribution) })).sort(inOrder)
  const sorted = [...unreadable].sort((a, b) => compareBytewise(a.path, b.path) || a.layer - b.layer)
  const bom = new Models.Bom({ serialNumber: serialNumber(input.manifestDigest), metadata: metadata(input, sorted) })
  for (const { found, component } of described) bom.components.add(model(found, component, input.layers))
  const components = described.map(({ component }) => component)
  return {
    bytes: serialize(bom),
    specVersion: "1.6",
    components,
    byType: countTypes(components),
    unreadable: sorted,
  }
}

interface Described {
  readonly found: FoundPackage
  readonly component: SbomComponent
}

const inOrder = ({ component: a }: Described, { component: b }: Described) =>
  compareBytewise(a.purl, b.purl) || compareBytewise(a.path, b.path)

function describe(found: FoundPackage, distribution: Distribution | undefined): SbomComponent {
  const { name, version } = found.package
  return {
    type: found.type,
    name,
    version,
    purl: found.type === "deb" ? debianPurl(found.package, distribution) : pythonPurl(found.package),
    layer: found.layer,
    path: found.path.toWellFormed(),
  }
}

type OfType<T extends FoundPackage["type"]> = Extract<FoundPackage, { type: T }>["package"]

function debianPurl(found: OfType<"deb">, distribution: Distribution | undefined): string {
  const distro = distribution && [distribution.id, distribution.versionId].filter(Boolean).join("-")
  const qualifiers = {
    arch: found.architecture,
    ...(distro === undefined ? {} : { distro }),
    // Advisories are about source packages.
    ...(found.source === null ? {} : { upstream: found.source }),
  }
  return new PackageURL("deb", distribution?.id ?? "debian", found.name, found.version, qualifiers, null).toString()
}

const pythonPurl = ({ name, version }: OfType<"pypi">) =>
  // Names are equal up to case and separators (PEP 503).
  new PackageURL("pypi", null, name.toLowerCase().replace(/[-_.]+/g, "-"), version, null, null).toString()

function model(found: FoundPackage, component: SbomComponent, layers: readonly LayerInventory[]): Models.Component {
  const { name, version, purl, path, layer } = component
  return new Models.Component(Enums.ComponentType.Library, name, {
    bomRef: `${purl}#${path}`,
    version,
    purl,
    ...details(found),
    properties: new Models.PropertyRepository([
      new Models.Property("envidence:layer:index", String(layer)),
      new Models.Property("envidence:layer:diffId", layers[layer]?.diffId ?? ""),
      new Models.Property("envidence:path", path),
    ]),
  })
}

const TEXT_LENGTH = 1024

function details(found: FoundPackage): Models.OptionalComponentProperties {
  if (found.type === "deb") {
    const { maintainer } = found.package
    return {
      licenses: new Models.LicenseRepository(debianLicenses(found.licenses)),
      ...(maintainer === null ? {} : { publisher: maintainer.slice(0, TEXT_LENGTH) }),
    }
  }
  const { summary } = found.package
  return {
    licenses: new Models.LicenseRepository(pythonLicenses(found.package)),
    ...(summary === null ? {} : { description: summary.slice(0, TEXT_LENGTH) }),
  }
}

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
