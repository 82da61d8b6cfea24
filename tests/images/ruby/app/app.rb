require "sinatra/base"

# Two routes: a text, and JSON after a library that the first request loads.
class App < Sinatra::Base
  set :environment, :production

  get("/") { "Hello from Sinatra" }

  get("/api/:number") do
    require "json"
    number = Integer(params[:number])
    { number: number, square: number * number }.to_json
  end
end
