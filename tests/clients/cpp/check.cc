// check HOST:PORT PHOTO
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>

#include <grpcpp/grpcpp.h>

#include "facequality/v1/face_quality_service.grpc.pb.h"

int main(int, char** arguments) {
  std::ifstream photo(arguments[2], std::ios::binary);
  facequality::v1::CheckFaceQualityRequest request;
  request.set_image(std::string(std::istreambuf_iterator<char>(photo), {}));
  auto channel = grpc::CreateChannel(arguments[1], grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  facequality::v1::CheckFaceQualityResponse answer;
  auto status = facequality::v1::FaceQualityService::NewStub(channel)->CheckFaceQuality(&context, request, &answer);
  if (!status.ok()) {
    std::cout << status.error_code() << " " << status.error_message() << "\n";
    return 0;
  }
  std::cout << facequality::v1::Verdict_Name(answer.verdict());
  for (int reason : answer.reasons()) std::cout << " " << facequality::v1::Reason_Name(facequality::v1::Reason(reason));
  std::cout << " " << answer.policy() << "\n";
}
