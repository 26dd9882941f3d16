import { lutimes, readdir } from "node:fs/promises"
import { join } from "node:path"
import {
  type ComparableImage,
  type ImageDifferences,
  type ImageView,
  imageDifferences,
  type Json,
  parseStrictJson,
  type ReproducibleBuildObservation,
  renderDifferenceTree,
} from "@envidence/core"
import { type OciLayout, openOciLayout } from "@envidence/oci"
import { buildImage } from "../lab/build.js"
import type { Lab, LabImage } from "../lab/lab.js"
import { type Artifact, defineMeasuredCriterion } from "./criterion.js"
import { causesOfContents } from "./differing-files.js"

type Facts = ReproducibleBuildObservation["facts"]

/** Builds a second time, from another copy in another folder with other file times, and compares. */
export const reproducibleBuild = defineMeasuredCriterion<"reproducible-build", Facts>({
  id: "reproducible-build",
  estimateSeconds: 30,
  async measure(lab) {
    const { submission, image } = lab
    if (submission === null || image.build === null) return { unmeasured: "a finished image was given, not its source" }
    const second = await buildImage({ ...lab, submission }, { prepare: context => changeTimes(context, OTHER_TIME) })
    const facts: Facts = {
      engine: { name: lab.engine.name, version: lab.engine.version },
      flags: image.build.flags.map(flag => flag.slice(0, 256)).slice(0, 64),
      sourceDateEpoch: submission.sourceDateEpoch,
      network: submission.network,
      builds: [image, second].map(describeBuild),
      ...(await compare(lab, image, second)),
    }
    await lab.engine.removeImage(second.reference)
    return { facts, artifacts: treeOf(facts) }
  },
})

const describeBuild = ({ manifestDigest, configDigest, diffIds, build }: LabImage): Facts["builds"][number] => ({
  manifestDigest,
  configDigest,
  diffIds: [...diffIds],
  seconds: build?.seconds ?? 0,
})

// Staging gives every file one time, two clones do not: an image that keeps file times shows it here.
const OTHER_TIME = new Date("2001-09-09T01:46:40Z")

async function changeTimes(directory: string, time: Date): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) await changeTimes(path, time)
    await lutimes(path, time, time)
  }
}

async function compare(lab: Lab, first: LabImage, second: LabImage): Promise<ImageDifferences> {
  // Equal digests mean equal bytes: there is nothing to read.
  if (first.manifestDigest === second.manifestDigest) return { differences: [], omitted: 0, causes: [], layers: [] }
  const [left, right] = [await lab.inventory(first.layout), await lab.inventory(second.layout)]
  const [one, other] = [await openOciLayout(first.layout), await openOciLayout(second.layout)]
  const causeOf = await causesOfContents({ layout: one, view: left }, { layout: other, view: right }, lab.signal)
  return imageDifferences(comparable(one, left), comparable(other, right), { causeOf })
}

const comparable = ({ configBytes, manifestBytes }: OciLayout, view: ImageView): ComparableImage => ({
  view,
  config: parseStrictJson(configBytes, "the image's config") as Json,
  manifest: parseStrictJson(manifestBytes, "the image manifest") as Json,
})

/** The same for people, as a tree; nothing where nothing differs. */
function treeOf(facts: Facts): Artifact[] {
  const tree = renderDifferenceTree(facts)
  if (tree === "") return []
  return [{ name: "differences.txt", mediaType: "text/plain; charset=utf-8", bytes: Buffer.from(tree) }]
}
