// java Check HOST:PORT PHOTO
import com.google.protobuf.ByteString;
import facequality.v1.CheckFaceQualityRequest;
import facequality.v1.FaceQualityServiceGrpc;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

class Check {
  public static void main(String[] args) throws Exception {
    var channel = ManagedChannelBuilder.forTarget(args[0]).usePlaintext().build();
    var gate = FaceQualityServiceGrpc.newBlockingStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS);
    var image = ByteString.copyFrom(Files.readAllBytes(Path.of(args[1])));
    try {
      var answer = gate.checkFaceQuality(CheckFaceQualityRequest.newBuilder().setImage(image).build());
      System.out.println(answer.getVerdict() + " " + answer.getReasonsList() + " " + answer.getPolicy());
    } catch (StatusRuntimeException error) {
      System.out.println(error.getStatus().getCode() + " " + error.getStatus().getDescription());
    }
    channel.shutdownNow();
  }
}
