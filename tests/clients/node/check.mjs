// node check.mjs HOST:PORT PHOTO
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [target, photo] = process.argv.slice(2);
const definition = loader.loadSync("facequality/v1/face_quality_service.proto", { includeDirs: [process.env.PROTO ?? "proto"], enums: String, defaults: true });
const { FaceQualityService } = grpc.loadPackageDefinition(definition).facequality.v1;
const gate = new FaceQualityService(target, grpc.credentials.createInsecure());

gate.checkFaceQuality({ image: readFileSync(photo) }, { deadline: Date.now() + 10_000 }, (error, answer) => {
  if (error) console.log(grpc.status[error.code], error.details);
  else console.log(answer.verdict, answer.reasons.join(","), answer.policy);
  gate.close();
});
