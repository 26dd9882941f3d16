import { EvidenceError, type ReportFormat, reportFormats } from "@envidence/core"
import yargs from "yargs"

/** The command line as the program uses it. */
export interface VerifyArguments {
  readonly command: "verify" | "inspect" | "policy" | "explain"
  readonly inputs: readonly string[]
  readonly submission: string | undefined
  readonly image: string | undefined
  readonly imageDigest: string | undefined
  readonly anySubjectUnsafe: boolean
  readonly certificateIdentity: string | undefined
  readonly certificateIdentityRegexp: string | undefined
  readonly certificateOidcIssuer: string | undefined
  readonly certificateOidcIssuerRegexp: string | undefined
  readonly key: string | undefined
  readonly anySignerUnsafe: boolean
  readonly policy: string
  readonly trustedRoot: string | undefined
  readonly offline: boolean
  readonly challenge: string | undefined
  readonly maxAgeDays: number | undefined
  readonly reports: readonly ReportTarget[]
  readonly verbose: boolean
}

export interface ReportTarget {
  readonly format: ReportFormat
  /** Null for standard output. */
  readonly file: string | null
}

/** Either arguments, or text that was asked for (help, version) and ends the program. */
export type Parsed = { readonly arguments: VerifyArguments } | { readonly text: string }

const COMMANDS = ["inspect", "policy"] as const

const LISTS: ReadonlySet<string> = new Set(["report"])

/** @throws EvidenceError usage */
export async function parseArguments(argv: readonly string[], version: string): Promise<Parsed> {
  let output = ""
  let failure: string | undefined
  const parsed = await parser(version)
    .fail(message => {
      failure ??= message
    })
    .parseAsync([...argv], {}, (_error: unknown, _argv: unknown, text: string) => {
      output = text
    })
  if (failure !== undefined) throw usage(failure)
  if (parsed.help === true || parsed.version === true) return { text: `${output}\n` }
  refuseRepeats(parsed)
  return { arguments: interpret(parsed) }
}

// Of two identities, policies or digests one would be ignored: nobody can tell which was meant.
function refuseRepeats(parsed: Record<string, unknown>): void {
  const repeated = Object.keys(parsed).find(name => name !== "_" && !LISTS.has(name) && Array.isArray(parsed[name]))
  if (repeated !== undefined) throw usage(`--${repeated} is given twice`)
}

const IMAGE =
  "the image, whose layers are read: oci:DIR, oci-archive:FILE, docker-archive:FILE, podman:REF, docker:REF, or HOST/NAME:TAG in a registry"

const parser = (version: string) =>
  yargs()
    .scriptName("verify-evidence")
    .usage(
      [
        "verify-evidence BUNDLE          check a bundle (a file, or - for standard input)",
        "verify-evidence inspect BUNDLE  show what a bundle says; nothing is verified",
        "verify-evidence policy FILE     check a policy and explain it",
        "verify-evidence --explain CODE  explain an error code",
      ].join("\n"),
    )
    .group(
      ["submission", "image", "image-digest", "any-subject-unsafe"],
      "What it must be evidence for (one is demanded):",
    )
    .option("submission", { type: "string", requiresArg: true, describe: "a checkout of the submission" })
    .option("image", { type: "string", requiresArg: true, describe: IMAGE })
    .option("image-digest", { type: "string", requiresArg: true, describe: "sha256:… of the image's manifest" })
    .option("any-subject-unsafe", { type: "boolean", default: false, describe: "accept evidence for anything" })
    .group(
      [
        "certificate-identity",
        "certificate-identity-regexp",
        "certificate-oidc-issuer",
        "certificate-oidc-issuer-regexp",
        "key",
        "any-signer-unsafe",
      ],
      "Whose signature counts (one is demanded, here or by the policy):",
    )
    .option("certificate-identity", { type: "string", requiresArg: true, describe: "exact identity of the signer" })
    .option("certificate-identity-regexp", {
      type: "string",
      requiresArg: true,
      describe: "the same as a pattern, anchored",
    })
    .option("certificate-oidc-issuer", { type: "string", requiresArg: true, describe: "exact issuer of that identity" })
    .option("certificate-oidc-issuer-regexp", {
      type: "string",
      requiresArg: true,
      describe: "the same as a pattern, anchored",
    })
    .option("key", { type: "string", requiresArg: true, describe: "the signer's public key, PEM" })
    .option("any-signer-unsafe", { type: "boolean", default: false, describe: "accept anyone's signature" })
    .group(["policy", "trusted-root", "offline", "challenge", "max-age"], "Rules:")
    .option("policy", { type: "string", requiresArg: true, default: "default", describe: "a file, or: default, demo" })
    .option("trusted-root", { type: "string", requiresArg: true, describe: "Sigstore's trusted_root.json" })
    .option("offline", { type: "boolean", default: false, describe: "no network; demands --trusted-root or --key" })
    .option("challenge", {
      type: "string",
      requiresArg: true,
      describe: "the nonce given to the contributor, hexadecimal",
    })
    .option("max-age", { type: "string", requiresArg: true, describe: "oldest accepted signature, such as 90d" })
    .group(["report", "format"], "Output:")
    .option("report", {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "text, json or markdown, with =FILE to write",
    })
    .option("format", {
      type: "string",
      requiresArg: true,
      choices: reportFormats,
      describe: "the report on standard output",
    })
    .option("explain", { type: "string", requiresArg: true, describe: "explain an error code" })
    .option("verbose", { type: "boolean", default: false, describe: "show where a failure comes from" })
    .version(version)
    .help()
    .strictOptions()
    .exitProcess(false)
    .showHelpOnFail(false)
    // A bundle called 1e3 is not 1000.
    .parserConfiguration({ "boolean-negation": false, "parse-positional-numbers": false })
    .wrap(80)

type Raw = Awaited<ReturnType<ReturnType<typeof parser>["parseAsync"]>>

function interpret(raw: Raw): VerifyArguments {
  const words = raw._.map(String)
  const command = raw.explain !== undefined ? "explain" : (COMMANDS.find(name => name === words[0]) ?? "verify")
  const inputs = raw.explain !== undefined ? [raw.explain] : command === "verify" ? words : words.slice(1)
  const [, ...others] = inputs
  if (inputs.length === 0) throw usage(command === "policy" ? "no policy file was named" : "no bundle was named")
  if (others.length > 0) throw usage("this version takes one bundle at a time")
  if (raw.image !== undefined && raw.imageDigest !== undefined) throw usage("give --image or --image-digest, not both")
  return {
    command,
    inputs,
    submission: raw.submission,
    image: raw.image,
    imageDigest: raw.imageDigest,
    anySubjectUnsafe: raw.anySubjectUnsafe,
    certificateIdentity: raw.certificateIdentity,
    certificateIdentityRegexp: raw.certificateIdentityRegexp,
    certificateOidcIssuer: raw.certificateOidcIssuer,
    certificateOidcIssuerRegexp: raw.certificateOidcIssuerRegexp,
    key: raw.key,
    anySignerUnsafe: raw.anySignerUnsafe,
    policy: raw.policy,
    trustedRoot: raw.trustedRoot,
    offline: raw.offline,
    challenge: raw.challenge === undefined ? undefined : checkChallenge(raw.challenge),
    maxAgeDays: raw.maxAge === undefined ? undefined : parseDays(raw.maxAge),
    reports: reportTargets(raw.report ?? [], raw.format),
    verbose: raw.verbose,
  }
}

function checkChallenge(text: string): string {
  if (!/^[0-9a-f]{16,128}$/.test(text)) throw usage("--challenge is 16 to 128 lower-case hexadecimal digits")
  return text
}

function parseDays(text: string): number {
  const match = /^(\d{1,5})d$/.exec(text)
  if (match === null) throw usage("--max-age is a number of days, such as 90d")
  return Number(match[1])
}

function reportTargets(reports: readonly string[], format: ReportFormat | undefined): ReportTarget[] {
  const targets = reports.map(parseTarget)
  if (format !== undefined) targets.push({ format, file: null })
  if (targets.filter(target => target.file === null).length > 1)
    throw usage("only one report can go to standard output")
  return targets.length === 0 ? [{ format: "text", file: null }] : targets
}

function parseTarget(text: string): ReportTarget {
  const [name = "", ...rest] = text.split("=")
  const format = reportFormats.find(candidate => candidate === name)
  if (format === undefined) throw usage(`--report takes ${reportFormats.join(", ")}, each with =FILE if wanted`)
  const file = rest.join("=")
  if (rest.length > 0 && file === "") throw usage(`--report ${name}= names no file`)
  return { format, file: rest.length > 0 ? file : null }
}

const usage = (message: string) => new EvidenceError("usage", message, { hint: "See verify-evidence --help." })
