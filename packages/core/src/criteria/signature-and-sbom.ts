import { parseStrictJson } from "../json.js"
import { defineStaticCriterion, type FactsOf, fail, type JudgedPart, pass } from "./criterion.js"
import { atLeast } from "./threshold.js"

type Facts = FactsOf<"SignatureAndSbomObservation">

/** A property of the SBOM's metadata that names a package database which is there and cannot be read. */
export const UNREADABLE_PROPERTY = "envidence:unreadable-database"

export const signatureAndSbom = defineStaticCriterion({
  id: "signature-and-sbom",
  name: "SBOM",
  revision: 1,
  requirement: "The image is covered by a verified signature, and an SBOM that parses is bound to it.",
  upstream: ["hub.cosign_signature", "static.sbom"],
  schema: "SignatureAndSbomObservation",
  restsOn: ["sbom"],
  thresholds: {
    components: atLeast(1, { unit: "components", reason: "An SBOM that lists nothing describes nothing." }),
  },
  inspect: ({ sbom }) => ({
    sbom: sbom === null ? null : { digest: sbom.digest, ...describeSbom(sbom.bytes) },
    unreadable: sbom === null ? [] : unreadableDatabases(sbom.bytes),
    imageSignatures: [],
  }),
  judge({ sbom, unreadable }, { components }, { sbomDigest, signature }) {
    if (sbom === null) return fail("there is no SBOM", "run emit-evidence without skipping this criterion")
    const observed = { digest: sbom.digest, components: sbom.components, byType: sbom.byType }
    if (sbom.digest !== sbomDigest)
      return fail("the SBOM is not the one that the statement binds", "run emit-evidence again", { observed })
    if (sbom.components < components)
      return fail(`the SBOM lists ${sbom.components} components`, "keep the package database in the final image", {
        observed,
      })
    if (unreadable.length > 0)
      return fail(
        `a package database cannot be read: ${unreadable.map(({ path }) => path).join(", ")}`,
        "repair or remove it",
        {
          observed,
          parts: unreadable.map(describe),
        },
      )
    const signed =
      signature === "verified" ? "the signature checked here" : "the signature to be made, which verify-evidence checks"
    return pass(`SBOM of ${sbom.components} components bound by ${signed}`, { observed })
  },
})

interface CycloneDx {
  specVersion?: unknown
  components?: ({ purl?: unknown } | null)[]
  metadata?: { properties?: ({ name?: unknown; value?: unknown } | null)[] } | null
}

function parse(bytes: Uint8Array): CycloneDx {
  const document = parseStrictJson(bytes, "sbom.cdx.json")
  return typeof document === "object" && document !== null ? (document as CycloneDx) : {}
}

function describeSbom(bytes: Uint8Array): Omit<NonNullable<Facts["sbom"]>, "digest"> {
  const { specVersion, components } = parse(bytes)
  const list = Array.isArray(components) ? components : []
  const byType = new Map<string, number>()
  for (const component of list) {
    const purl = typeof component?.purl === "string" ? component.purl : ""
    const type = /^pkg:([a-z][a-z0-9.+-]{0,31})\//.exec(purl)?.[1] ?? "other"
    byType.set(type, (byType.get(type) ?? 0) + 1)
  }
  return {
    format: "CycloneDX",
    specVersion: typeof specVersion === "string" ? specVersion.slice(0, 8) : "?",
    components: list.length,
    byType: Object.fromEntries(byType),
  }
}

function unreadableDatabases(bytes: Uint8Array): Facts["unreadable"] {
  const properties = parse(bytes).metadata?.properties
  const list = Array.isArray(properties) ? properties : []
  const values = list.filter(property => property?.name === UNREADABLE_PROPERTY)
  return values.slice(0, 64).map(property => {
    const [layer, path, ...because] = String(property?.value).split("\t")
    return { layer: layerNumber(layer), path: (path ?? "").slice(0, 8192), because: because.join(" ").slice(0, 512) }
  })
}

const layerNumber = (text: string | undefined): number => (/^\d{1,3}$/.test(text ?? "") ? Number(text) : 0)

const describe = ({ path, layer, because }: Facts["unreadable"][number]): JudgedPart => ({
  id: "unreadable-database",
  outcome: "fail",
  because: `layer ${layer} ${path}: ${because}`,
  remedy: "repair or remove this package database",
  where: { layer, path, instruction: null, line: null },
})
