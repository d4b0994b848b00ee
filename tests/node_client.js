// Calls an action with the official SDK for Node.js: what is asked comes as JSON on the standard input, the answer
// goes to the standard output, and a refusal ends the process with its code and sentence on the standard error.
"use strict";

const { cvm } = require("tencentcloud-sdk-nodejs");

const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const client = new cvm.v20170312.Client({
  credential: { secretId: asked.secretId, secretKey: asked.secretKey },
  region: asked.region,
  profile: { httpProfile: { endpoint: asked.endpoint, protocol: "http://" } },
});

client[asked.action](asked.parameters).then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => {
    console.error(`${error.code}: ${error.message}`);
    process.exitCode = 1;
  },
);
