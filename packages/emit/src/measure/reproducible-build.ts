import { lutimes, readdir } from "node:fs/promises"
import { join } from "node:path"
import {
  type ComparableImage,
  imageDifferences,
  type Json,
  parseStrictJson,
  type ReproducibleBuildObservation,
} from "@envidence/core"
import { buildImage } from "../lab/build.js"
import type { Lab, LabImage } from "../lab/lab.js"
import { defineMeasuredCriterion } from "./criterion.js"

type Facts = ReproducibleBuildObservation["facts"]

/** Builds a second time, from another copy in another folder with other file times, and compares. */
export const reproducibleBuild = defineMeasuredCriterion<"reproducible-build", Facts>({
  id: "reproducible-build",
  estimateSeconds: 30,
  async measure(lab) {
    const { submission, image } = lab
    if (submission === null || image.build === null) return { unmeasured: "a finished image was given, not its source" }
    const second = await buildImage({ ...lab, submission }, { prepare: context => changeTimes(context, OTHER_TIME) })
    const { listed, omitted } = await differences(lab, image, second)
    const facts: Facts = {
      engine: { name: lab.engine.name, version: lab.engine.version },
      flags: image.build.flags.map(flag => flag.slice(0, 256)).slice(0, 64),
      sourceDateEpoch: submission.sourceDateEpoch,
      network: submission.network,
      builds: [image, second].map(describeBuild),
      differences: [...listed],
      omitted,
    }
    await lab.engine.removeImage(second.reference)
    return { facts, artifacts: [] }
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

async function differences(lab: Lab, first: LabImage, second: LabImage) {
  // Equal digests mean equal bytes: there is nothing to read.
  if (first.manifestDigest === second.manifestDigest) return { listed: [], omitted: 0 }
  return imageDifferences(await comparable(lab, first), await comparable(lab, second))
}

const comparable = async (lab: Lab, image: LabImage): Promise<ComparableImage> => ({
  view: await lab.inventory(image.layout),
  config: parseStrictJson(image.config, "the image's config") as Json,
})
