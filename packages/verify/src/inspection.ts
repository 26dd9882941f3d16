import { escapeTerminal, parseStatement, type UntrustedBundle } from "@envidence/core"

const MARK = "UNVERIFIED  "

/** What a bundle says of itself, every line marked: nobody has checked who says it. */
export function renderInspection(bundle: UntrustedBundle): string {
  const { name, version } = { name: bundle.policy.id, version: bundle.policy.version }
  const lines = [
    `bundle sha256:${bundle.sha256}, ${bundle.size} bytes, ${bundle.members.size} members`,
    bundle.attestation === null ? "not signed" : "carries a signature, which was not checked",
    `previewed under policy ${name}/${version}`,
    ...statementLines(bundle),
    ...[...bundle.members.values()].map(member => `${member.path}  ${member.bytes.length} bytes  ${member.role}`),
    ...bundle.notUnderstood.map(path => `not understood: ${path}`),
  ]
  return `${lines.map(line => MARK + escapeTerminal(line)).join("\n")}\n`
}

function statementLines(bundle: UntrustedBundle): string[] {
  const payload = bundle.statement ?? payloadOf(bundle.attestation)
  if (payload === undefined) return ["its statement cannot be read"]
  const { predicate } = parseStatement(payload)
  return [
    `image ${predicate.image.digest} (${predicate.image.platform})`,
    `submission ${predicate.submission?.digest ?? "none"}`,
    `made by ${predicate.tool.name} ${predicate.tool.version}, finished ${predicate.finishedAt}`,
    `challenge ${predicate.challenge ?? "none"}`,
    ...predicate.criteria.map(
      ({ id, preview, skippedByContributor }) => `${id}: ${preview}${skippedByContributor ? ", skipped" : ""}`,
    ),
  ]
}

function payloadOf(attestation: Uint8Array | null): Uint8Array | undefined {
  if (attestation === null) return undefined
  try {
    const { dsseEnvelope } = JSON.parse(Buffer.from(attestation).toString("utf8")) as {
      dsseEnvelope?: { payload?: unknown }
    }
    return typeof dsseEnvelope?.payload === "string" ? Buffer.from(dsseEnvelope.payload, "base64") : undefined
  } catch {
    return undefined
  }
}
