// The vendor's official Node client against an endpoint: prints the answer, or {error: code}, as one line of JSON.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(`${process.argv[2]}/`);
const { iai } = require("tencentcloud-sdk-nodejs");
const [, , , endpoint, secretId, secretKey, photo] = process.argv;
const client = new iai.v20200303.Client({
  credential: { secretId, secretKey },
  region: "ap-guangzhou",
  profile: { httpProfile: { protocol: "http://", endpoint } },
});
client
  .DetectFace({ Image: readFileSync(photo).toString("base64"), NeedQualityDetection: 1 })
  .then((answer) => console.log(JSON.stringify(answer)))
  .catch((error) => console.log(JSON.stringify({ error: error.code, requestId: error.requestId })));
