import { existsSync } from "node:fs"
import { EvidenceError } from "@envidence/core"
import yargs from "yargs"
import type { BuildNetwork } from "./lab/engine.js"
import type { EngineChoice } from "./lab/engines.js"
import { PROGRESS_MODES, type ProgressMode } from "./progress.js"

export const COMMANDS = ["emit", "check", "sign", "doctor", "snapshot", "criteria"] as const
export type Command = (typeof COMMANDS)[number]

/** The command line as the program uses it. */
export interface EmitArguments {
  readonly command: Command
  /** Submission, image, unsigned bundle or criterion, by the command. */
  readonly input: string
  readonly output: string
  readonly force: boolean
  readonly policy: string
  readonly image: string | undefined
  readonly imageOutput: string | undefined
  readonly buildArgs: Readonly<Record<string, string>>
  readonly buildNetwork: BuildNetwork
  readonly engine: EngineChoice
  readonly only: readonly string[]
  readonly skip: readonly string[]
  readonly challenge: string | null
  readonly sbom: string | undefined
  readonly workDirectory: string | undefined
  readonly resume: boolean
  readonly dryRun: boolean
  readonly expectDigest: string | undefined
  readonly signing: SigningArguments
  readonly progress: ProgressMode
  readonly format: "text" | "json"
  readonly verbose: boolean
}

export interface SigningArguments {
  readonly identityToken: string | undefined
  readonly signingConfig: string | undefined
  readonly trustedRoot: string | undefined
  readonly fulcioUrl: string | undefined
  readonly rekorUrl: string | undefined
  readonly timestampServerUrl: string | undefined
  readonly key: string | undefined
  /** False after --no-sign. */
  readonly sign: boolean
}

/** Either arguments, or text that was asked for (help, version) and ends the program. */
export type Parsed = { readonly arguments: EmitArguments } | { readonly text: string }

const LISTS: ReadonlySet<string> = new Set(["build-arg", "buildArg", "only", "skip"])

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

const text = (describe: string) => ({ type: "string", requiresArg: true, describe }) as const
const flag = (describe: string) => ({ type: "boolean", default: false, describe }) as const
const list = (describe: string) =>
  ({ type: "string", array: true, nargs: 1, requiresArg: true, describe, default: [] as string[] }) as const

const IMAGE =
  "judge this image instead of building: oci:DIR, oci-archive:FILE, docker-archive:FILE, podman:REF, docker:REF, or HOST/NAME:TAG in a registry"

const parser = (version: string) =>
  yargs()
    .scriptName("emit-evidence")
    .usage(
      [
        "emit-evidence SUBMISSION        build, observe, sign, write the bundle",
        "emit-evidence check SUBMISSION  static criteria only (or: check IMAGE)",
        "emit-evidence sign UNSIGNED     sign an unsigned bundle, here or elsewhere",
        "emit-evidence doctor            say what this machine can observe",
        "emit-evidence snapshot          print the snapshot that a bundle would carry",
        "emit-evidence criteria [ID]     explain the criteria and their thresholds",
      ].join("\n"),
    )
    .group(["output", "force", "image-output", "sbom", "format", "progress", "verbose"], "Output:")
    .option("output", { ...text("the bundle"), alias: "o", default: "evidence-bundle.tar.gz" })
    .option("force", flag("replace existing output"))
    .option("image-output", text("keep the judged image as an OCI layout in this folder"))
    .option("sbom", text("write the SBOM there (check)"))
    .option("format", {
      ...text("the report on standard output"),
      choices: ["text", "json"] as const,
      default: "text" as const,
    })
    .option("progress", { ...text("on standard error"), choices: PROGRESS_MODES, default: "auto" as const })
    .option("verbose", flag("show what the engine says, and where a failure comes from"))
    .group(
      ["policy", "image", "build-arg", "build-network", "engine", "only", "skip", "challenge"],
      "What is observed:",
    )
    .option("policy", { ...text("a file, or: default, demo"), default: "default" })
    .option("image", text(IMAGE))
    .option("build-arg", list("NAME=VALUE, recorded in the evidence"))
    .option("build-network", {
      ...text("what RUN instructions may reach"),
      choices: ["host", "none"] as const,
      default: "host" as const,
    })
    .option("engine", {
      ...text("the container engine"),
      choices: ["auto", "podman", "docker"] as const,
      default: "auto" as const,
    })
    .option("only", list("observe only this criterion; the others are recorded as skipped"))
    .option("skip", list("do not observe this criterion; recorded as skipped"))
    .option("challenge", text("the maintainer's nonce, hexadecimal"))
    .group(
      [
        "identity-token",
        "signing-config",
        "trusted-root",
        "fulcio-url",
        "rekor-url",
        "timestamp-server-url",
        "key",
        "sign",
        "expect-digest",
      ],
      "Signing:",
    )
    .option("identity-token", text("OIDC token, or a file that holds it; in CI it is found by itself"))
    .option("signing-config", text("Sigstore's signing_config.json: which services sign"))
    .option("trusted-root", text("Sigstore's trusted_root.json of those services"))
    .option("fulcio-url", text("certificate authority"))
    .option("rekor-url", text("transparency log"))
    .option("timestamp-server-url", text("timestamp authority"))
    .option("key", text("sign with this private key (PEM) instead"))
    .option("sign", { type: "boolean", default: true, describe: "--no-sign writes the unsigned bundle only" })
    .option("expect-digest", text("sign only this statement (sha256 of statement.json)"))
    .group(["work-dir", "resume", "dry-run"], "The run:")
    .option("work-dir", text("keep what was observed here"))
    .option("resume", flag("take from --work-dir what an earlier run observed of the same submission"))
    .option("dry-run", flag("say what would be done"))
    .version(version)
    .help()
    .strictOptions()
    .exitProcess(false)
    .showHelpOnFail(false)
    // A folder called 1e3 is not 1000.
    .parserConfiguration({ "parse-positional-numbers": false })
    .wrap(80)

type Raw = Awaited<ReturnType<ReturnType<typeof parser>["parseAsync"]>>

function interpret(raw: Raw): EmitArguments {
  const words = raw._.map(String)
  const named = COMMANDS.find(command => command !== "emit" && command === words[0])
  const [input, ...others] = named === undefined ? words : words.slice(1)
  const command = named ?? "emit"
  if (input === undefined && NEEDS_INPUT[command] !== null) throw usage(`no ${NEEDS_INPUT[command]} was named`)
  if (raw.dryRun && command !== "emit") throw usage(`--dry-run says what a whole run would do, not ${command}`)
  if (named === undefined && words.length > 1 && !existsSync(words[0] ?? ""))
    throw usage(`there is no command ${words[0]}; there are ${COMMANDS.slice(1).join(", ")}`)
  if (others.length > 0) throw usage(`too many arguments: ${others.join(" ")}`)
  if (raw.resume && raw.workDir === undefined) throw usage("--resume needs --work-dir")
  if (raw.only.length > 0 && raw.skip.length > 0) throw usage("give --only or --skip, not both")
  return {
    command,
    input: input ?? "",
    output: raw.output,
    force: raw.force,
    policy: raw.policy,
    image: raw.image,
    imageOutput: raw.imageOutput,
    buildArgs: parseBuildArgs(raw.buildArg),
    buildNetwork: raw.buildNetwork,
    engine: raw.engine,
    only: raw.only,
    skip: raw.skip,
    challenge: parseChallenge(raw.challenge),
    sbom: raw.sbom,
    workDirectory: raw.workDir,
    resume: raw.resume,
    dryRun: raw.dryRun,
    expectDigest: raw.expectDigest,
    signing: {
      identityToken: raw.identityToken,
      signingConfig: raw.signingConfig,
      trustedRoot: raw.trustedRoot,
      fulcioUrl: raw.fulcioUrl,
      rekorUrl: raw.rekorUrl,
      timestampServerUrl: raw.timestampServerUrl,
      key: raw.key,
      sign: raw.sign,
    },
    progress: raw.progress,
    format: raw.format,
    verbose: raw.verbose,
  }
}

const NEEDS_INPUT: Readonly<Record<Command, string | null>> = {
  emit: "submission",
  check: "submission or image",
  sign: "unsigned bundle",
  doctor: null,
  snapshot: null,
  criteria: null,
}

function parseBuildArgs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map(pair => {
      const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(pair) ?? []
      if (name === undefined || value === undefined) throw usage(`--build-arg ${pair} is not NAME=VALUE`)
      return [name, value]
    }),
  )
}

function parseChallenge(challenge: string | undefined): string | null {
  if (challenge === undefined) return null
  if (!/^[0-9a-f]{16,128}$/.test(challenge)) throw usage("--challenge is 16 to 128 lower-case hexadecimal digits")
  return challenge
}

const usage = (message: string) => new EvidenceError("usage", message, { hint: "See emit-evidence --help." })
