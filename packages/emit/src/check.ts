import { stat } from "node:fs/promises"
import {
  type Binding,
  buildCheckReport,
  choosePolicy,
  type Declaration,
  isAccepted,
  type PolicyDocument,
  preview,
  type Report,
  readDeclaration,
} from "@envidence/core"
import { type ImageReference, namesImage, parseImageReference, withImage, writeFileAtomically } from "@envidence/oci"
import type { EmitArguments } from "./arguments.js"
import { noCheckpoint } from "./checkpoint.js"
import { openLog, readPolicyFile } from "./emit.js"
import { givenBindings, openingOptions, type ReadImage, readImage } from "./image.js"
import { observeStatic } from "./observe.js"
import { startProgress } from "./progress.js"
import { withRun } from "./run.js"
import type { World } from "./world.js"

/** `emit-evidence check`: static criteria only, for the fast loop while fixing. @throws EvidenceError */
export async function checkSubmission(told: EmitArguments, world: World): Promise<Report> {
  const policy = await choosePolicy(told.policy, readPolicyFile)
  const progress = startProgress(told.progress, world)
  const judge = async (
    read: ReadImage,
    declaration: Declaration,
    submission: string,
    bindings: readonly Binding[] = [],
  ) => {
    const sbom = read.evidence.sbom
    if (told.sbom !== undefined && sbom !== null) await writeFileAtomically(told.sbom, sbom.bytes)
    return judgeStatic(read, declaration, submission, policy, bindings)
  }
  const reference = await imageOf(told.input)
  if (reference !== undefined) {
    const declaration = readDeclaration([])
    return withImage(reference, openingOptions(world), async image => {
      const read = await progress.step("reading every layer", 5, () => readImage(image, declaration, world.signal))
      return judge(read, declaration, "", givenBindings(reference, image))
    })
  }
  const tools = { progress, log: openLog(told, world), openCheckpoint: async () => noCheckpoint }
  return withRun(told, world, tools, ({ read, submission }) => judge(read, submission.declaration, submission.digest))
}

/** A folder that is there is a submission, whatever else its name could mean. */
async function imageOf(input: string): Promise<ImageReference | undefined> {
  if (!namesImage(input)) return undefined
  const folder = await stat(input).catch(() => undefined)
  return folder?.isDirectory() ? undefined : parseImageReference(input)
}

// An image alone has no declaration, so what needs one does not apply.
const applies = (id: string, submission: string): boolean => submission !== "" || id !== "resource-declarations"

async function judgeStatic(
  { layout, evidence }: ReadImage,
  declaration: Declaration,
  submission: string,
  policy: PolicyDocument,
  bindings: readonly Binding[],
): Promise<Report> {
  const observed = observeStatic(evidence, id => applies(id, submission))
  const observations = new Map(observed.map(({ observation }) => [observation.criterion, observation]))
  const context = {
    imageDigest: layout.manifestDigest,
    configDigest: layout.configDigest,
    sbomDigest: evidence.sbom?.digest ?? null,
    builtFromSubmission: false,
    seeds: [],
  }
  const findings = preview({ observations, notObserved: new Map() }, declaration, policy, context).filter(finding =>
    observations.has(finding.id),
  )
  const report = await buildCheckReport(findings, policy, declaration, submission, bindings)
  return { ...report, exitCode: isAccepted(findings) ? 0 : 3 }
}
